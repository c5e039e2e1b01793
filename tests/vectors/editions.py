#!/usr/bin/env python3
"""Makes editions.tsv and defaults.tsv with Python's protobuf, as the oracle of tests/tests/constructs.

    protoc -I proto --include_imports -o set.pb proto/constructs/*.proto
    pip install protobuf==7.36.2
    python3 vectors/editions.py set.pb vectors

Every field of every message of proto/constructs alone, with the values at the edges of its type; a few messages
with everything, by a fixed seed; and bytes that another writer might send.
"""

import math
import random
import struct
import sys

import google.protobuf
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

WELL_KNOWN = "google.protobuf."

EDGES = {
    F.TYPE_DOUBLE: [0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, -1.7976931348623157e308],
    F.TYPE_FLOAT: [0.0, 0.5, math.inf, -math.inf, math.nan, 3.4028234663852886e38],
    F.TYPE_INT32: [0, 1, -1, 2**31 - 1, -(2**31)],
    F.TYPE_INT64: [0, 1, -1, 2**63 - 1, -(2**63)],
    F.TYPE_UINT32: [0, 1, 2**32 - 1],
    F.TYPE_UINT64: [0, 1, 2**64 - 1],
    F.TYPE_BOOL: [False, True],
    F.TYPE_STRING: ["", "x", 'größe "\\\n\u0001', "\U0001f600"],
    F.TYPE_BYTES: [b"", b"\x00\xff", bytes(range(40))],
}
for same, like in [
    (F.TYPE_SINT32, F.TYPE_INT32),
    (F.TYPE_SFIXED32, F.TYPE_INT32),
    (F.TYPE_SINT64, F.TYPE_INT64),
    (F.TYPE_SFIXED64, F.TYPE_INT64),
    (F.TYPE_FIXED32, F.TYPE_UINT32),
    (F.TYPE_FIXED64, F.TYPE_UINT64),
]:
    EDGES[same] = EDGES[like]

FORMATS = {
    F.TYPE_DOUBLE: "<d",
    F.TYPE_FLOAT: "<f",
    F.TYPE_FIXED32: "<I",
    F.TYPE_SFIXED32: "<i",
    F.TYPE_FIXED64: "<Q",
    F.TYPE_SFIXED64: "<q",
}


def varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def scalar(kind, value):
    """The wire type of a scalar, and its bytes without a tag."""
    if kind in FORMATS:
        data = struct.pack(FORMATS[kind], value)
        return 1 if len(data) == 8 else 5, data
    if kind in (F.TYPE_SINT32, F.TYPE_SINT64):
        value = value << 1 ^ value >> 63
    return 0, varint(int(value))


def tag(field, wire):
    return varint(field << 3 | wire)


def number(field, value):
    return tag(field, 0) + varint(value)


def block(field, *parts):
    data = b"".join(parts)
    return tag(field, 2) + varint(len(data)) + data


def group(field, *parts):
    return tag(field, 3) + b"".join(parts) + tag(field, 4)


class Maker:
    def __init__(self, path):
        with open(path, "rb") as file:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
        refused = [file for file in files.file if file.name == "constructs/conflicts.proto"]
        for file in refused:
            files.file.remove(file)
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self.classes = message_factory.GetMessageClassesForFiles(
            [file.name for file in files.file], self.pool
        )
        self.messages = []
        for file in files.file:
            if file.name.startswith("constructs/"):
                descriptor = self.pool.FindFileByName(file.name)
                for message in descriptor.message_types_by_name.values():
                    self.collect(message)
        self.messages.sort(key=lambda message: message.full_name)
        self.lines = []

    def collect(self, message):
        if message.GetOptions().map_entry:
            return
        # No message of these is ever complete, and none of an option is ever sent.
        if "Endless" in message.full_name or message.full_name.startswith("constructs.option"):
            return
        self.messages.append(message)
        for nested in message.nested_types:
            self.collect(nested)

    def new(self, descriptor):
        return message_factory.GetMessageClass(descriptor)()

    def parsed(self, descriptor, data):
        message = self.new(descriptor)
        message.MergeFromString(data)
        return message

    # Values

    def required(self, message):
        """Sets what is required and not set."""
        for field in message.DESCRIPTOR.fields:
            if field.is_required and not message.HasField(field.name):
                if field.message_type:
                    getattr(message, field.name).SetInParent()
                else:
                    setattr(message, field.name, self.edges(field)[0])
        for field, value in message.ListFields():
            if not field.message_type:
                continue
            if field.message_type.GetOptions().map_entry:
                if field.message_type.fields_by_name["value"].message_type:
                    for each in value.values():
                        self.required(each)
            elif field.is_repeated:
                for each in value:
                    self.required(each)
            else:
                self.required(value)
        return message

    def edges(self, field):
        if field.type == F.TYPE_ENUM:
            if field.enum_type.full_name == WELL_KNOWN + "NullValue":
                # Of JSON it has one value only.
                return [0]
            numbers = sorted({value.number for value in field.enum_type.values})
            known = [number for number in numbers if abs(number) < 2**30] or numbers
            more = [] if field.enum_type.is_closed else [99, -(2**31)]
            first = field.enum_type.values[0].number
            return [first] + [number for number in known if number != first] + more
        if field.message_type:
            return self.examples(field.message_type)
        return EDGES[field.type]

    def examples(self, descriptor):
        """Messages to stand in a field: an empty one, and one that is not."""
        empty = self.new(descriptor)
        some = self.new(descriptor)
        name = descriptor.full_name
        if name == WELL_KNOWN + "Any":
            leaf = self.new(self.pool.FindMessageTypeByName("constructs.edition2023.Leaf"))
            leaf.number = 5
            some.Pack(leaf)
            return [some]
        if name == WELL_KNOWN + "Value":
            empty.null_value = 0
            some.struct_value.fields["a"].list_value.values.add().number_value = 1.5
        elif name == WELL_KNOWN + "Struct":
            some.fields["a"].string_value = "x"
        elif name == WELL_KNOWN + "ListValue":
            some.values.add().bool_value = False
        elif name == WELL_KNOWN + "FieldMask":
            some.paths.extend(["foo_bar", "a.b"])
        elif name == WELL_KNOWN + "Timestamp":
            some.FromJsonString("2024-02-29T12:34:56.789Z")
        elif name == WELL_KNOWN + "Duration":
            some.FromJsonString("-1.5s")
        else:
            for field in descriptor.fields:
                if not field.is_repeated and not field.message_type:
                    setattr(some, field.name, self.edges(field)[-1])
                    break
        return [self.required(empty), self.required(some)]

    def set(self, message, field, values):
        if not field.is_repeated:
            if field.message_type:
                getattr(message, field.name).SetInParent()
                getattr(message, field.name).CopyFrom(values[0])
            else:
                setattr(message, field.name, values[0])
        elif field.message_type and field.message_type.GetOptions().map_entry:
            # One entry: the order of several is nobody's business.
            key, value = values[0]
            if field.message_type.fields_by_name["value"].message_type:
                getattr(message, field.name)[key].CopyFrom(value)
            else:
                getattr(message, field.name)[key] = value
        else:
            getattr(message, field.name).extend(values)

    def alone(self, field):
        """The lists of values to try in a field."""
        if field.message_type and field.message_type.GetOptions().map_entry:
            keys = self.edges(field.message_type.fields_by_name["key"])
            values = self.edges(field.message_type.fields_by_name["value"])
            return [[(keys[0], values[0])], [(keys[-1], values[-1])]]
        edges = self.edges(field)
        if field.is_repeated:
            return [edges, edges[:1]]
        return [[edge] for edge in edges]

    def fill(self, message, chance, depth):
        for field in message.DESCRIPTOR.fields:
            if chance.random() < 0.3:
                continue
            if field.containing_oneof and len(field.containing_oneof.fields) > 1:
                if message.WhichOneof(field.containing_oneof.name):
                    continue
            own = field.message_type and field.message_type.full_name.startswith("constructs.")
            if own and not field.message_type.GetOptions().map_entry and depth > 0:
                if field.is_repeated:
                    for _ in range(chance.randrange(3)):
                        self.fill(getattr(message, field.name).add(), chance, depth - 1)
                else:
                    inner = getattr(message, field.name)
                    inner.SetInParent()
                    self.fill(inner, chance, depth - 1)
            else:
                self.set(message, field, chance.choice(self.alone(field)))
        return self.required(message)

    # Vectors

    def vector(self, descriptor, data, note=None):
        """One line: a message, what is read, what is written, and JSON."""
        message = self.parsed(descriptor, data)
        message.DiscardUnknownFields()
        for field in [field for field, _ in message.ListFields() if field.is_extension]:
            message.ClearExtension(field)
        written = message.SerializeToString(deterministic=True)
        json = json_format.MessageToJson(
            message, indent=None, ensure_ascii=False, descriptor_pool=self.pool
        )
        name = descriptor.full_name.removeprefix("constructs.")
        if note:
            self.lines.append(f"# {note}")
        # Writers may leave out the key and the value of a map's entry where they are the default.
        about = "~" if self.has_default_entry(message) else ""
        self.lines.append("\t".join([name, data.hex(), about + written.hex(), json]))

    def has_default_entry(self, message):
        for field, value in message.ListFields():
            if not field.message_type:
                continue
            if field.message_type.GetOptions().map_entry:
                holds = field.message_type.fields_by_name["value"].message_type
                for key, each in value.items():
                    if not key or not (each.ByteSize() if holds else each):
                        return True
                    if holds and self.has_default_entry(each):
                        return True
            elif any(map(self.has_default_entry, value if field.is_repeated else [value])):
                return True
        return False

    def run(self):
        chance = random.Random(4)
        for descriptor in self.messages:
            self.vector(descriptor, self.required(self.new(descriptor)).SerializeToString())
            for field in descriptor.fields:
                for values in self.alone(field):
                    message = self.new(descriptor)
                    self.set(message, field, values)
                    self.required(message)
                    self.vector(descriptor, message.SerializeToString(deterministic=True))
                if field.is_repeated and field.type in {*FORMATS, *EDGES, F.TYPE_ENUM} - {
                    F.TYPE_STRING,
                    F.TYPE_BYTES,
                }:
                    self.other_encoding(descriptor, field)
            if descriptor.fields and not descriptor.full_name.startswith("constructs.maps"):
                for _ in range(3):
                    message = self.fill(self.new(descriptor), chance, 2)
                    self.vector(descriptor, message.SerializeToString(deterministic=True))

    def other_encoding(self, descriptor, field):
        """A list as a writer that has it packed the other way round sends it, and in pieces."""
        values = [value for value in self.edges(field) if value == value]
        parts = [scalar(field.type, value) for value in values]
        wire = parts[0][0]
        apart = b"".join(tag(field.number, wire) + data for _, data in parts)
        packed = block(field.number, *(data for _, data in parts))
        rest = self.required(self.new(descriptor)).SerializeToString()
        self.vector(descriptor, (apart if field.is_packed else packed) + rest)
        self.vector(descriptor, packed + apart + rest)

    def by_hand(self):
        def find(name):
            return self.pool.FindMessageTypeByName("constructs." + name)

        presence, lists = find("proto2.Presence"), find("proto2.Lists")
        self.vector(
            presence,
            block(8, number(1, 1)) + block(8, block(2, b"ab")) + block(8),
            "One message in three pieces.",
        )
        self.vector(
            find("proto2.Groups"),
            group(1, number(1, 1), group(2, number(1, 7))) + group(1, group(2, number(1, 8))) + group(3),
            "One group in two pieces.",
        )
        self.vector(
            find("edition2023.Messages"),
            group(1, group(9)) + group(1, group(1, group(9, number(1, 2)))) + group(9),
            "Delimited fields in each other, in two pieces.",
        )
        self.vector(
            presence,
            group(1000, number(1, 5), group(2, block(3, b"x"))) + number(1, 2) + block(1001, b"y"),
            "What nobody knows, groups too.",
        )
        self.vector(
            find("proto2.Extended"),
            number(1, 1)
            + block(100, b"x")
            + block(101, varint(2), varint(3))
            + group(102, number(1, 5))
            + number(103, 0)
            + block(110, number(1, 1)),
            "Extensions.",
        )
        self.vector(
            find("proto2.Set"),
            group(1, number(2, 1000), block(3, number(1, 5))),
            "A message set.",
        )
        self.vector(lists, block(1) + block(2), "Packed lists of nothing.")
        self.vector(
            find("proto3.Members"),
            number(3, 1) + block(14, b"x") + block(17, number(3, 2)) + block(17, number(4, 3)),
            "Members of a oneof, one after another: the last one stays, and is merged with itself.",
        )

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            print("# message\tprotobuf read\tprotobuf written\tcanonical JSON", file=file)
            version = google.protobuf.__version__
            print(f"# By editions.py with Python's protobuf {version}.", file=file)
            for line in self.lines:
                print(line, file=file)

    def defaults(self, path):
        """The defaults of the fields of constructs.defaults: numbers, bits of floats, bytes of texts."""
        with open(path, "w", encoding="utf-8") as file:
            print("# message\tfield\tdefault", file=file)
            version = google.protobuf.__version__
            print(f"# By editions.py with Python's protobuf {version}.", file=file)
            for message in self.messages:
                if not message.full_name.startswith("constructs.defaults"):
                    continue
                for field in message.fields:
                    if field.containing_oneof:
                        # Rust has no function for these.
                        continue
                    value = getattr(self.new(message), field.name)
                    if field.type == F.TYPE_DOUBLE:
                        value = "nan" if math.isnan(value) else struct.pack(">d", value).hex()
                    elif field.type == F.TYPE_FLOAT:
                        value = "nan" if math.isnan(value) else struct.pack(">f", value).hex()
                    elif field.type == F.TYPE_STRING:
                        value = value.encode().hex()
                    elif field.type == F.TYPE_BYTES:
                        value = value.hex()
                    elif field.type == F.TYPE_BOOL:
                        value = str(value).lower()
                    name = message.full_name.removeprefix("constructs.defaults.")
                    print(name, field.name, value, sep="\t", file=file)


def main():
    descriptor_set, folder = sys.argv[1:]
    maker = Maker(descriptor_set)
    maker.run()
    maker.by_hand()
    maker.write(f"{folder}/editions.tsv")
    maker.defaults(f"{folder}/defaults.tsv")


main()
