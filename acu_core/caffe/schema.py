"""The part of Caffe's protobuf schema that the importer reads, built at run time.

Messages within messages are declared as plain bytes, which is what they are on the wire. Each is parsed only when its
place in the file has been judged, so that a hostile file cannot make a few bytes unfold into millions of objects.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from acu_core.errors import UserError

_PACKAGE = "acu.caffe"
# Numbers as in the authors' caffe.proto: name, number, type, whether it repeats.
_MESSAGES: dict[str, list[tuple[str, int, str, bool]]] = {
    "NetParameter": [("name", 1, "bytes", False), ("layers", 2, "bytes", True), ("layer", 100, "bytes", True)],
    "LayerParameter": [
        ("name", 1, "bytes", False),
        ("type", 2, "bytes", False),
        ("bottom", 3, "bytes", True),
        ("top", 4, "bytes", True),
        ("blobs", 7, "bytes", True),
        ("convolution_param", 106, "bytes", False),
        ("pooling_param", 121, "bytes", False),
        ("relu_param", 123, "bytes", False),
        ("batch_norm_param", 139, "bytes", False),
    ],
    "BlobProto": [("shape", 7, "bytes", False), ("data", 5, "float", True), ("double_data", 8, "double", True)],
    "BlobShape": [("dim", 1, "int64", True)],
    "ConvolutionParameter": [
        ("bias_term", 2, "bool", False),
        ("pad", 3, "uint32", True),
        ("kernel_size", 4, "uint32", True),
        ("group", 5, "uint32", False),
        ("stride", 6, "uint32", True),
        ("pad_h", 9, "uint32", False),
        ("pad_w", 10, "uint32", False),
        ("kernel_h", 11, "uint32", False),
        ("kernel_w", 12, "uint32", False),
        ("stride_h", 13, "uint32", False),
        ("stride_w", 14, "uint32", False),
        ("dilation", 18, "uint32", True),
    ],
    "PoolingParameter": [("pool", 1, "int32", False), ("global_pooling", 12, "bool", False)],
    "ReLUParameter": [("negative_slope", 1, "float", False)],
    "BatchNormParameter": [("eps", 3, "float", False)],
}
_DEFAULTS = {
    ("ConvolutionParameter", "bias_term"): "true",
    ("ConvolutionParameter", "group"): "1",
    ("BatchNormParameter", "eps"): "1e-05",
}
_PACKED = {"data", "double_data", "dim"}


def message(kind: str) -> Any:
    """A new, empty message of a kind of Caffe's. Raises UserError where protobuf is not installed."""
    return _classes()[kind]()


def parse(kind: str, content: bytes) -> Any | None:
    """The message that `content` holds; None when it holds none."""
    found = message(kind)
    from google.protobuf.message import DecodeError

    try:
        found.ParseFromString(content)
    except DecodeError:
        return None
    return found


@cache
def _classes() -> dict[str, Any]:
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise UserError(
            "reading Caffe's files needs protobuf: pip install 'active-convolution[caffe]', then try again"
        ) from error
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="acu/caffe.proto", package=_PACKAGE, syntax="proto2")
    for kind, fields in _MESSAGES.items():
        described = file.message_type.add(name=kind)
        for name, number, type_name, repeats in fields:
            added = described.field.add(
                name=name,
                number=number,
                type=field.Type.Value(f"TYPE_{type_name.upper()}"),
                label=field.LABEL_REPEATED if repeats else field.LABEL_OPTIONAL,
            )
            if name in _PACKED:
                added.options.packed = True
            if (kind, name) in _DEFAULTS:
                added.default_value = _DEFAULTS[kind, name]
    # A pool of its own: the default one may already hold somebody's caffe.proto.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        kind: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{kind}")) for kind in _MESSAGES
    }
