#!/usr/bin/env bash
# Builds the harnesses as OSS-Fuzz and ClusterFuzzLite ask for: with $CXX, $CXXFLAGS and $LIB_FUZZING_ENGINE, into $OUT;
# each with its seeds (NAME_seed_corpus.zip) and its dictionary. To try it without them:
#   CXX=clang++-19 CXXFLAGS="-O1 -fsanitize=address,fuzzer-no-link" LIB_FUZZING_ENGINE=-fsanitize=fuzzer OUT=/tmp/out \
#     fuzz/build_oss_fuzz.sh
# Needs Asio's and OpenSSL's headers and libraries, zip, for one harness Boost.JSON's headers, and for one its library,
# libarchive, liblzma, zlib and libzstd.
set -eu
cd "$(dirname "$0")/.."
: "${CXX:?}" "${LIB_FUZZING_ENGINE:?}" "${OUT:?}"
mkdir -p "$OUT"
work=${WORK:-$(mktemp -d)}
# shellcheck disable=SC2206 # these hold several words
engine=($LIB_FUZZING_ENGINE) flags=(${CXXFLAGS:-})
flags+=(-std=c++20 -DASIO_STANDALONE -DASIO_NO_DEPRECATED -DASIO_SEPARATE_COMPILATION -DASIO_HAS_CO_AWAIT
  -DASIO_HAS_STD_COROUTINE -DASIO_HAS_STD_ALIGNED_ALLOC=1 -DASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=8
  -Iinclude -Itests -Iexamples/gateway)
# A fuzzing image has only what is in $OUT: OpenSSL goes in statically where its archives are installed.
libraries=(-lssl -lcrypto)
[ -z "${STATIC_OPENSSL:-}" ] || libraries=("-Wl,-Bstatic" -lssl -lcrypto "-Wl,-Bdynamic")
libraries+=(-lpthread -ldl)

"$CXX" "${flags[@]}" -c cmake/asio.cpp -o "$work/asio.o"
for source in fuzz/*.cpp; do
  name=$(basename "$source" .cpp)
  [ "$name" != replay ] || continue
  if [ "$name" = deployment ] && ! echo '#include <boost/json.hpp>' | "$CXX" "${flags[@]}" -E -x c++ - >/dev/null 2>&1; then
    echo "build_oss_fuzz.sh: $name is left out: no Boost.JSON" >&2
    continue
  fi
  more=()
  if [ "$name" = artifact ]; then
    more=(-larchive -llzma -lz -lzstd -lboost_json)
    if ! printf '#include <%s>\n' archive.h boost/json.hpp lzma.h zlib.h zstd.h | "$CXX" "${flags[@]}" -E -x c++ - >/dev/null 2>&1; then
      echo "build_oss_fuzz.sh: $name is left out: no libarchive, liblzma, zlib, libzstd or Boost.JSON" >&2
      continue
    fi
  fi
  "$CXX" "${flags[@]}" "$source" "$work/asio.o" "${engine[@]}" ${more[@]+"${more[@]}"} "${libraries[@]}" -o "$OUT/$name"
  dict=fuzz/http.dict
  [ ! -f "fuzz/$name.dict" ] || dict=fuzz/$name.dict
  cp "$dict" "$OUT/$name.dict"
  printf '[libfuzzer]\nmax_len = 20000\nclose_fd_mask = 1\n' >"$OUT/$name.options"
  inputs=("fuzz/seeds/$name")
  [ ! -d "fuzz/regressions/$name" ] || inputs+=("fuzz/regressions/$name")
  rm -f "$OUT/${name}_seed_corpus.zip"
  # Flat, as the fuzzers want it; folders of the same name differ in their files' names.
  find "${inputs[@]}" -type f | zip -q -j "$OUT/${name}_seed_corpus.zip" -@
done
