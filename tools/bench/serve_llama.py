#!/usr/bin/env python3
"""Starts llama.cpp's server from the wheel `xllamacpp` on a pair of files, and says where it listens.

    python tools/bench/serve_llama.py TEXT.gguf MMPROJ.gguf --parallel 16 --context 16384 --threads 4
    cargo run --release -p xtask -- load throughput --address 127.0.0.1:8090

The context is shared by the requests that run at once. Ends with Ctrl-C.
"""

import argparse
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("projector")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--context", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = arguments.text
    params.mmproj.path = arguments.projector
    params.n_ctx = arguments.context
    params.n_parallel = arguments.parallel
    params.n_ubatch = params.n_batch = 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    params.image_max_tokens = 4096
    params.port = arguments.port
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
