"""Calls the rpcecho server at HOST PORT with impacket. Prints `ok NAME` or `not ok NAME: REASON` for each test."""
import struct
import sys
import threading
import time

from impacket.dcerpc.v5 import mgmt, transport
from impacket.dcerpc.v5.dtypes import DWORD, LPWSTR, NULL, USHORT, WSTR
from impacket.dcerpc.v5.ndr import NDRCALL, NDRPOINTER, NDRSTRUCT, NDRUniConformantArray
from impacket.dcerpc.v5.rpcrt import DCERPCException
from impacket.uuid import uuidtup_to_bin

host, port = sys.argv[1], sys.argv[2]
RPCECHO = uuidtup_to_bin(("60a15ec5-4de8-11d7-a637-005056a20182", "1.0"))
UNKNOWN = uuidtup_to_bin(("2cc1b6cd-5d0d-4f0e-b3c4-a02b7a2c6d11", "1.0"))


class DCERPCSessionError(DCERPCException):
    pass


class Bytes(NDRUniConformantArray):
    item = "c"


class Numbers(NDRUniConformantArray):
    item = "<H"


class PNumber(NDRPOINTER):
    referent = (("Data", USHORT),)


class PPNumber(NDRPOINTER):
    referent = (("Data", PNumber),)


class Surrounding(NDRSTRUCT):
    structure = (("x", DWORD), ("surrounding", Numbers))


def method(number, name, input, output):
    call = type(name, (NDRCALL,), {"opnum": number, "structure": input, "__module__": __name__})
    reply = type(name + "Response", (NDRCALL,), {"structure": output, "__module__": __name__})
    globals()[name], globals()[name + "Response"] = call, reply


method(0, "AddOne", (("value", DWORD),), (("value", DWORD),))
method(1, "EchoData", (("len", DWORD), ("data", Bytes)), (("data", Bytes),))
method(2, "SinkData", (("len", DWORD), ("data", Bytes)), ())
method(3, "SourceData", (("len", DWORD),), (("data", Bytes),))
method(4, "TestCall", (("s1", WSTR),), (("s2", LPWSTR),))
method(6, "TestSleep", (("seconds", DWORD),), (("seconds", DWORD),))
method(8, "TestSurrounding", (("data", Surrounding),), (("data", Surrounding),))
method(9, "TestDoublePointer", (("data", PPNumber),), (("value", USHORT),))


def connect(interface=RPCECHO):
    rpc = transport.DCERPCTransportFactory("ncacn_ip_tcp:%s[%s]" % (host, port)).get_dce_rpc()
    rpc.connect()
    rpc.bind(interface)
    return rpc


def invoke(rpc, call, **values):
    request = call()
    for name, value in values.items():
        request[name] = value
    return rpc.request(request, checkError=False)


def raw(rpc, opnum, stub=b""):
    rpc.call(opnum, stub)
    return rpc.recv()


def same(actual, expected):
    if actual != expected:
        raise AssertionError("%.200r is not %.200r" % (actual, expected))


def refused(action, word):
    try:
        action()
    except DCERPCException as error:
        if word not in str(error):
            raise AssertionError("%r is not in %s" % (word, error))
    else:
        raise AssertionError("it was not refused")


def binds_and_calls():
    rpc = connect()
    same([invoke(rpc, AddOne, value=n)["value"] for n in range(50)], list(range(1, 51)))
    same(invoke(rpc, AddOne, value=0xFFFFFFFF)["value"], 0)
    rpc.disconnect()


def fragments_both_ways():
    rpc = connect()
    data = bytes(i * 7 & 0xFF for i in range(100001))
    same(b"".join(invoke(rpc, EchoData, len=len(data), data=data)["data"]), data)
    invoke(rpc, SinkData, len=len(data), data=data)
    same(b"".join(invoke(rpc, SourceData, len=30000)["data"]), bytes(i & 0xFF for i in range(30000)))
    rpc.disconnect()


def sends_fragments_of_64_bytes():
    rpc = connect()
    rpc.set_max_fragment_size(64)
    data = bytes(range(256)) * 8
    same(b"".join(invoke(rpc, EchoData, len=len(data), data=data)["data"]), data)
    rpc.disconnect()


def strings():
    rpc = connect()
    for text in ("", "a", "grüß Gott", "x" * 5000):
        same(invoke(rpc, TestCall, s1=text + "\0")["s2"], text + "\0")
    rpc.disconnect()


def structures_and_pointers():
    rpc = connect()
    data = Surrounding()
    data["x"], data["surrounding"] = 3, [1, 2, 3]
    reply = invoke(rpc, TestSurrounding, data=data)["data"]
    same((reply["x"], list(reply["surrounding"])), (6, [0] * 6))
    same(invoke(rpc, TestDoublePointer, data=12)["value"], 12)
    same(invoke(rpc, TestDoublePointer, data=NULL)["value"], 0)
    rpc.disconnect()


def unions():
    rpc = connect()
    # The levels' arms, from the second discriminant on, and the status behind them.
    arms = {
        1: ("<HB", 1, 10),
        2: ("<HH", 2, 20),
        3: ("<HxxI", 3, 30),
        4: ("<H6xq", 4, 40),
        5: ("<H6xB7xq", 5, 50, 60),
        6: ("<HBB", 6, 70, 80),
        7: ("<H6xB7xq", 7, 80, 90),
    }
    for level, (format, *values) in arms.items():
        stub = struct.pack(format, *values)
        stub += b"\0" * (-len(stub) % 4) + struct.pack("<I", 0)
        same(raw(rpc, 5, struct.pack("<H", level)), stub)
    rpc.disconnect()


def enumerations():
    rpc = connect()
    stub = struct.pack("<H2xH2xIHH", 1, 1, 2, 1, 2)
    same(raw(rpc, 7, stub), struct.pack("<H2xH2xIHH", 1, 2, 2, 1, 2))
    rpc.disconnect()


def faults_leave_the_connection():
    rpc = connect()
    refused(lambda: raw(rpc, 5, struct.pack("<H", 99)), "nca_s_fault_invalid_tag")
    refused(lambda: raw(rpc, 0, b"\0"), "rpc_x_bad_stub_data")
    same(invoke(rpc, AddOne, value=1)["value"], 2)
    rpc.disconnect()


def unknown_opnum():
    rpc = connect()
    refused(lambda: raw(rpc, 10), "nca_s_op_rng_error")
    same(invoke(rpc, AddOne, value=1)["value"], 2)
    rpc.disconnect()


def unknown_interface():
    refused(lambda: connect(UNKNOWN), "abstract_syntax_not_supported")
    rpc = connect()
    refused(lambda: rpc.alter_ctx(UNKNOWN), "abstract_syntax_not_supported")
    same(invoke(rpc, AddOne, value=1)["value"], 2)
    rpc.disconnect()


def unknown_interfaces_in_the_same_bind():
    rpc = transport.DCERPCTransportFactory("ncacn_ip_tcp:%s[%s]" % (host, port)).get_dce_rpc()
    rpc.connect()
    rpc.bind(RPCECHO, bogus_binds=3)
    same(invoke(rpc, AddOne, value=1)["value"], 2)
    rpc.disconnect()


def altered_context_with_management():
    rpc = connect()
    management = rpc.alter_ctx(mgmt.MSRPC_UUID_MGMT)
    same(mgmt.his_server_listening(management)["status"], 0)
    same(invoke(rpc, AddOne, value=5)["value"], 6)
    rpc.disconnect()


def management():
    rpc = connect(mgmt.MSRPC_UUID_MGMT)
    vector = mgmt.hinq_if_ids(rpc)["if_id_vector"]
    same(vector["count"], len(vector["if_id"]))
    uuids = [entry["Data"]["Uuid"] for entry in vector["if_id"]]
    same(RPCECHO[:16] in uuids, True)
    same(len(mgmt.hinq_stats(rpc)["statistics"]), 4)
    refused(lambda: mgmt.hstop_server_listening(rpc), "access_denied")
    rpc.disconnect()


def connections_side_by_side():
    connections = [connect() for _ in range(8)]
    slept = []
    start = time.monotonic()

    def sleep(rpc):
        slept.append(invoke(rpc, TestSleep, seconds=1)["seconds"])

    sleepers = [threading.Thread(target=sleep, args=(rpc,)) for rpc in connections[1:]]
    for sleeper in sleepers:
        sleeper.start()
    same(invoke(connections[0], AddOne, value=1)["value"], 2)
    at_once = time.monotonic() - start
    for sleeper in sleepers:
        sleeper.join()
    took = time.monotonic() - start
    same(slept, [1] * 7)
    same((at_once < 1, 0.9 < took < 3), (True, True))
    for rpc in connections:
        rpc.disconnect()


tests = [
    binds_and_calls,
    fragments_both_ways,
    sends_fragments_of_64_bytes,
    strings,
    structures_and_pointers,
    unions,
    enumerations,
    faults_leave_the_connection,
    unknown_opnum,
    unknown_interface,
    unknown_interfaces_in_the_same_bind,
    altered_context_with_management,
    management,
    connections_side_by_side,
]
for test in tests:
    name = test.__name__.replace("_", " ")
    try:
        test()
        print("ok", name, flush=True)
    except Exception as error:
        print("not ok %s: %s %s" % (name, type(error).__name__, error), flush=True)
