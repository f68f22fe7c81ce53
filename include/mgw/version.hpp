#pragma once
/// The version of mgw. CMake reads it from here: this is the one place where it stands.
#define MGW_VERSION "0.1.0"
