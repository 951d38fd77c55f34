"""The wire of the two video services as their first system had it: each from a file of its own, compiled here.

Both files say `package video` and have a `GenerateRequest`, so each gets a pool of its own; nothing of our generated
modules is in it.
"""

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

GENERATOR = """
syntax = "proto3";
package video;

service Generator {
  rpc Generate(GenerateRequest) returns (stream GenerateEvent);
  rpc GetJob(GetJobRequest) returns (GetJobResponse);
}

message GenerateRequest {
  string job_id = 1;
  string prompt = 2;
  string model = 3;
  string scratch_dir = 4;
  map<string,string> options = 5;
}

message GenerateEvent {
  oneof event {
    Progress progress = 1;
    Result result = 2;
    Error error = 3;
  }
}

message Progress {
  string job_id = 1;
  int32 step = 2;
  int32 total_steps = 3;
  string message = 4;
  double gpu_util = 5;
}

message Result {
  string job_id = 1;
  string artifact_path = 2;
  string s3_url = 3;
  string etag = 4;
  int64 bytes = 5;
}

message Error {
  string job_id = 1;
  int32 code = 2;
  string message = 3;
}

message GetJobRequest { string job_id = 1; }
message GetJobResponse {
  enum Status { UNKNOWN = 0; QUEUED = 1; RUNNING = 2; SUCCEEDED = 3; FAILED = 4; }
  string job_id = 1;
  Status status = 2;
  string s3_url = 3;
  string error = 4;
  int32 progress = 5;
}
"""
VIDEO_GENERATOR = """
syntax = "proto3";
package video;

service VideoGenerator {
  rpc Generate (GenerateRequest) returns (GenerateResponse);
  rpc GetStatus (StatusRequest) returns (StatusResponse);
}

message GenerateRequest {
  string job_id = 1;
  string prompt = 2;
  int32 resolution_width = 3;
  int32 resolution_height = 4;
  int32 duration_seconds = 5;
  string quality = 6;
}

message GenerateResponse {
  bool accepted = 1;
  string message = 2;
}

message StatusRequest {
  string job_id = 1;
}

message StatusResponse {
  string job_id = 1;
  string state = 2;
  string output_path = 3;
  string error_message = 4;
}
"""


class Wire:
    """Messages of one file by name, and its service both ways: `stub` calls it, `handlers` serve it."""

    def __init__(self, proto: str) -> None:
        self._pool = _compiled(proto)
        file = self._pool.FindFileByName("original.proto")
        (self.service,) = file.services_by_name.values()
        for name, message in file.message_types_by_name.items():
            setattr(self, name, message_factory.GetMessageClass(message))

    def stub(self, channel):
        return SimpleNamespace(**{one.name: self._call(channel, one) for one in self.service.methods})

    def handlers(self, served):
        """`served` has a coroutine, or an async generator, under the name of each method."""
        methods = {one.name: self._handler(one, getattr(served, one.name)) for one in self.service.methods}
        return grpc.method_handlers_generic_handler(self.service.full_name, methods)

    def _call(self, channel, method):
        kind = channel.unary_stream if method.server_streaming else channel.unary_unary
        asked, answered = self._classes(method)
        path = f"/{self.service.full_name}/{method.name}"
        return kind(
            path, request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
        )

    def _handler(self, method, behaviour):
        kind = "unary_stream" if method.server_streaming else "unary_unary"
        asked, answered = self._classes(method)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            behaviour,
            request_deserializer=asked.FromString,
            response_serializer=answered.SerializeToString,
        )

    def _classes(self, method):
        return tuple(message_factory.GetMessageClass(one) for one in (method.input_type, method.output_type))


def _compiled(proto):
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "original.proto"), Path(folder, "made")
        source.write_text(proto)
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-o{made}", str(source)]
        subprocess.run(command, check=True, timeout=60)
        files = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


@cache
def generator() -> Wire:
    return Wire(GENERATOR)


@cache
def video_generator() -> Wire:
    return Wire(VIDEO_GENERATOR)
