from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNSPECIFIED: _ClassVar[ErrorCode]
    CANCELLED: _ClassVar[ErrorCode]
    INVALID_INPUT: _ClassVar[ErrorCode]
    TIMED_OUT: _ClassVar[ErrorCode]
    OUT_OF_MEMORY: _ClassVar[ErrorCode]
    FAILED: _ClassVar[ErrorCode]
UNSPECIFIED: ErrorCode
CANCELLED: ErrorCode
INVALID_INPUT: ErrorCode
TIMED_OUT: ErrorCode
OUT_OF_MEMORY: ErrorCode
FAILED: ErrorCode

class SubmitRequest(_message.Message):
    __slots__ = ("job_id", "prompt", "resolution_width", "resolution_height", "duration_seconds", "quality")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_WIDTH_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    prompt: str
    resolution_width: int
    resolution_height: int
    duration_seconds: int
    quality: str
    def __init__(self, job_id: _Optional[str] = ..., prompt: _Optional[str] = ..., resolution_width: _Optional[int] = ..., resolution_height: _Optional[int] = ..., duration_seconds: _Optional[int] = ..., quality: _Optional[str] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("accepted", "message")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    message: str
    def __init__(self, accepted: _Optional[bool] = ..., message: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("job_id", "state", "output_path", "error_message")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PATH_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: str
    output_path: str
    error_message: str
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[str] = ..., output_path: _Optional[str] = ..., error_message: _Optional[str] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("job_id", "prompt", "model", "scratch_dir", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCRATCH_DIR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    prompt: str
    model: str
    scratch_dir: str
    options: _containers.ScalarMap[str, str]
    def __init__(self, job_id: _Optional[str] = ..., prompt: _Optional[str] = ..., model: _Optional[str] = ..., scratch_dir: _Optional[str] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GenerateEvent(_message.Message):
    __slots__ = ("progress", "result", "error")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    result: Result
    error: Error
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("job_id", "step", "total_steps", "message", "gpu_util")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GPU_UTIL_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    step: int
    total_steps: int
    message: str
    gpu_util: float
    def __init__(self, job_id: _Optional[str] = ..., step: _Optional[int] = ..., total_steps: _Optional[int] = ..., message: _Optional[str] = ..., gpu_util: _Optional[float] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("job_id", "artifact_path", "s3_url", "etag", "bytes")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_PATH_FIELD_NUMBER: _ClassVar[int]
    S3_URL_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    artifact_path: str
    s3_url: str
    etag: str
    bytes: int
    def __init__(self, job_id: _Optional[str] = ..., artifact_path: _Optional[str] = ..., s3_url: _Optional[str] = ..., etag: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("job_id", "code", "message")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    code: int
    message: str
    def __init__(self, job_id: _Optional[str] = ..., code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job_id", "status", "s3_url", "error", "progress")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[GetJobResponse.Status]
        QUEUED: _ClassVar[GetJobResponse.Status]
        RUNNING: _ClassVar[GetJobResponse.Status]
        SUCCEEDED: _ClassVar[GetJobResponse.Status]
        FAILED: _ClassVar[GetJobResponse.Status]
    UNKNOWN: GetJobResponse.Status
    QUEUED: GetJobResponse.Status
    RUNNING: GetJobResponse.Status
    SUCCEEDED: GetJobResponse.Status
    FAILED: GetJobResponse.Status
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    S3_URL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    status: GetJobResponse.Status
    s3_url: str
    error: str
    progress: int
    def __init__(self, job_id: _Optional[str] = ..., status: _Optional[_Union[GetJobResponse.Status, str]] = ..., s3_url: _Optional[str] = ..., error: _Optional[str] = ..., progress: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: _Optional[bool] = ...) -> None: ...
