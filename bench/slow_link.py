"""A slow link for the benchmarks: what comes from the origin passes it in one queue, at a fixed rate, whoever it is for.

The queue holds so much before the origin is held back, as the buffers of modems do.
"""
import asyncio
import multiprocessing
import os
import signal
import socket
import time


class Link:
    """The link to `origin_port`, in a process of its own on `core`. `port` is where proxies find it; `passed.value` counts
    the bytes that came out of the queue, `returned.value` those the other way. Leaving the context ends it."""

    def __init__(self, origin_port, rate, queue, core):
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        self.passed, self.returned = (multiprocessing.Value("Q", 0, lock=False) for _ in range(2))
        self.process = multiprocessing.Process(target=run_link, daemon=True,
                                               args=(listening, origin_port, rate, queue, self.passed, self.returned))
        self.process.start()
        os.sched_setaffinity(self.process.pid, {core})
        listening.close()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.process.terminate()
        self.process.join()


def run_link(listening, origin_port, rate, queue, passed, returned):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    async def main():
        line, held = asyncio.Queue(), 0
        space = asyncio.Condition()

        async def out():
            nonlocal held
            free_at = time.monotonic()
            while True:
                writer, data = await line.get()
                free_at = max(free_at, time.monotonic() - 0.1) + len(data) / rate  # a late timer is caught up
                if (wait := free_at - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                passed.value += len(data)
                if not writer.is_closing():
                    writer.write(data)
                async with space:
                    held -= len(data)
                    space.notify_all()

        async def down(reader, writer):
            nonlocal held
            while data := await reader.read(16384):
                if len(data) > 4096:  # small answers find room, as packets do between the others
                    async with space:
                        await space.wait_for(lambda: held < queue)
                held += len(data)
                line.put_nowait((writer, data))
                await writer.drain()  # the receiver's window may be closed
            writer.close()

        async def up(reader, writer):
            while data := await reader.read(16384):
                returned.value += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        async def serve(reader, writer):
            # What has passed the link is at the receiver: there is no other buffer on its way.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            writer.transport.set_write_buffer_limits(high=65536)
            origin_reader, origin_writer = await asyncio.open_connection("127.0.0.1", origin_port, limit=65536)
            origin_writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            await asyncio.gather(up(reader, origin_writer), down(origin_reader, writer), return_exceptions=True)

        await asyncio.start_server(serve, sock=listening)
        await out()

    asyncio.run(main())
