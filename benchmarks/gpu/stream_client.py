"""Draw one stream, stop after SECONDS, print JSON: stream_client.py ADDRESS MODEL COUNT SECONDS."""

from __future__ import annotations

import json
import sys
import time

import grpc

from ganserve.v1 import gan_service_pb2, gan_service_pb2_grpc


def main(address: str, model: str, count: int, seconds: float) -> None:
    drawn = chunks = 0
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        grpc.channel_ready_future(channel).result(60)
        request = gan_service_pb2.SampleRequest(model=model, count=count, seed=0, label_indices=[0])
        start, cpu = time.perf_counter(), time.process_time()
        stream = gan_service_pb2_grpc.GanServiceStub(channel).StreamSamples(
            gan_service_pb2.StreamSamplesRequest(request=request)
        )
        for response in stream:
            drawn += response.chunk.samples.tensor.shape[0]
            chunks += 1
            if time.perf_counter() - start > seconds:
                stream.cancel()
                break
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    measured = {"requests": chunks, "samples": drawn, "seconds": elapsed, "cpu_s": cpu, "complete": drawn == count}
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
