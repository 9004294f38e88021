"""Asks the endpoint mapper at HOST PORT with impacket. Prints `ok NAME` or `not ok NAME: REASON` for each test."""
import sys

from impacket.dcerpc.v5 import epm, transport
from impacket.dcerpc.v5.dtypes import DWORD, NULL
from impacket.dcerpc.v5.ndr import NDRCALL
from impacket.dcerpc.v5.rpcrt import DCERPCException
from impacket.uuid import bin_to_string, uuidtup_to_bin

host, port = sys.argv[1], sys.argv[2]
RPCECHO = uuidtup_to_bin(("60a15ec5-4de8-11d7-a637-005056a20182", "1.0"))
NEWER = uuidtup_to_bin(("60a15ec5-4de8-11d7-a637-005056a20182", "1.1"))


class DCERPCSessionError(DCERPCException):
    pass


# impacket lacks the method that ends a lookup.
class ept_lookup_handle_free(NDRCALL):
    opnum = 4
    structure = (("entry_handle", epm.ept_lookup_handle_t),)


class ept_lookup_handle_freeResponse(NDRCALL):
    structure = (("entry_handle", epm.ept_lookup_handle_t), ("status", DWORD))


class AddOne(NDRCALL):
    opnum = 0
    structure = (("value", DWORD),)


class AddOneResponse(NDRCALL):
    structure = (("value", DWORD),)


def connect(binding="ncacn_ip_tcp:%s[%s]" % (host, port)):
    rpc = transport.DCERPCTransportFactory(binding).get_dce_rpc()
    rpc.connect()
    return rpc


def same(actual, expected):
    if actual != expected:
        raise AssertionError("%.200r is not %.200r" % (actual, expected))


def refused(action, code):
    try:
        action()
    except DCERPCException as error:
        same(error.get_error_code(), code)
    else:
        raise AssertionError("it was not refused")


def show(entry):
    interface, syntax = entry["tower"]["Floors"][:2]
    same(str(syntax).lower(), "8a885d04-1ceb-11c9-9fe8-08002b104860 v2.0")
    where = epm.PrintStringBinding(entry["tower"]["Floors"]).split("[")[0]
    annotation = b"".join(entry["annotation"]) if isinstance(entry["annotation"], list) else entry["annotation"]
    return str(interface).lower(), where, annotation.rstrip(b"\0").decode(), bin_to_string(entry["object"])


nobody = "00000000-0000-0000-0000-000000000000"
echo = "60a15ec5-4de8-11d7-a637-005056a20182 v1.0"
clock = "b5d3f7c1-2f64-4c46-8d55-0f3a9c1e7a21 v2.3"
echoes = [
    (echo, "ncacn_ip_tcp:127.0.0.1", "the echo of Callisto", nobody),
    (echo, "ncalrpc:", "rpcecho", nobody),
]
everything = [echoes[0], (clock, "ncacn_ip_tcp:127.0.0.1", "Clock", "11111111-2222-4333-8444-555555555555"), echoes[1]]


def lists_the_endpoints():
    same([show(entry) for entry in epm.hept_lookup(host, dce=connect())], everything)


def lookup(rpc, handle, max_ents, inquiry=epm.RPC_C_EP_ALL_ELTS, minor=0):
    request = epm.ept_lookup()
    request["inquiry_type"], request["vers_option"], request["max_ents"] = inquiry, 2, max_ents
    request["object"], request["entry_handle"] = NULL, handle
    # hept_lookup has the version as bytes, which are no numbers.
    request["Ifid"]["Uuid"], request["Ifid"]["VersMajor"], request["Ifid"]["VersMinor"] = RPCECHO[:16], 1, minor
    return rpc.request(request)


def found_in(reply):
    same(reply["num_ents"], len(reply["entries"]))
    towers = [epm.EPMTower(b"".join(entry["tower"]["tower_octet_string"])) for entry in reply["entries"]]
    return [
        show({"tower": tower, "object": entry["object"], "annotation": entry["annotation"]})
        for entry, tower in zip(reply["entries"], towers)
    ]


def bound():
    rpc = connect()
    rpc.bind(epm.MSRPC_UUID_PORTMAP)
    return rpc


def lists_those_of_an_interface():
    rpc, start = bound(), epm.ept_lookup_handle_t()
    same(found_in(lookup(rpc, start, 500, epm.RPC_C_EP_MATCH_BY_IF)), echoes)
    refused(lambda: lookup(rpc, start, 500, epm.RPC_C_EP_MATCH_BY_IF, minor=1), epm.RPC_NO_MORE_ELEMENTS)


def goes_from_page_to_page():
    rpc, handle, entries = bound(), epm.ept_lookup_handle_t(), []
    while True:
        reply = lookup(rpc, handle, 2)
        same(reply.fields["entries"]["MaximumCount"], 2)
        entries += found_in(reply)
        handle = reply["entry_handle"]
        if handle.isNull():
            break
    same(entries, everything)


class InSmallPages:
    """A connection on which hept_lookup asks for SIZE entries at a time; it knows which handles were sent."""

    def __init__(self, size):
        self.rpc, self.size, self.sent = connect(), size, []

    def bind(self, interface):
        return self.rpc.bind(interface)

    def request(self, request):
        request["max_ents"] = self.size
        self.sent.append(request["entry_handle"]["context_handle_uuid"])
        return self.rpc.request(request)


def has_its_own_lookup_paged():
    dce = InSmallPages(1)
    same([show(entry) for entry in epm.hept_lookup(host, dce=dce)], everything)
    same(len(dce.sent), 3)
    same((dce.sent[0], dce.sent[1] != dce.sent[0], dce.sent[2]), (b"\0" * 16, True, dce.sent[1]))


def free(rpc, handle):
    request = ept_lookup_handle_free()
    request["entry_handle"] = handle
    return rpc.request(request)


def handle_of(uuid, attributes=0):
    handle = epm.ept_lookup_handle_t()
    handle["context_handle_attributes"], handle["context_handle_uuid"] = attributes, uuid
    return handle


def not_known(action):
    try:
        action()
    except DCERPCException as error:
        # impacket names the fault 0x1C00001A, and drops its number.
        same("nca_s_fault_context_mismatch" in str(error), True)
    else:
        raise AssertionError("it was not refused")


def ends_a_lookup_before_its_end():
    rpc = bound()
    handle = lookup(rpc, epm.ept_lookup_handle_t(), 1)["entry_handle"]
    reply = free(rpc, handle)
    same((reply["entry_handle"].isNull(), reply["status"]), (True, 0))
    not_known(lambda: lookup(rpc, handle, 1))
    not_known(lambda: free(rpc, handle))


def is_refused_with_a_handle_that_is_not_its_own():
    rpc, other = bound(), bound()
    handle = lookup(rpc, epm.ept_lookup_handle_t(), 1)["entry_handle"]
    uuid = handle["context_handle_uuid"]
    near = uuid[:15] + bytes([uuid[15] ^ 1])
    for forged in [handle_of(b"\x11" * 16), handle_of(near), handle_of(uuid, 1), handle_of(b"\0" * 16, 1)]:
        not_known(lambda: lookup(rpc, forged, 1))
        not_known(lambda: free(rpc, forged))
    not_known(lambda: free(rpc, epm.ept_lookup_handle_t()))
    not_known(lambda: lookup(other, handle, 1))
    not_known(lambda: free(other, handle))
    # It was touched by none of that.
    same(found_in(lookup(rpc, handle, 500)), everything[1:])


def finds_a_server_and_calls_it():
    binding = epm.hept_map(host, RPCECHO, protocol="ncacn_ip_tcp", dce=connect())
    rpc = connect(binding)
    rpc.bind(RPCECHO)
    request = AddOne()
    request["value"] = 41
    same(rpc.request(request, checkError=False)["value"], 42)
    rpc.disconnect()


def finds_nobody():
    rpc = connect()
    refused(lambda: epm.hept_map(host, NEWER, protocol="ncacn_ip_tcp", dce=rpc), epm.RPC_NO_MORE_ELEMENTS)
    rpc = connect()
    refused(lambda: epm.hept_map(host, RPCECHO, protocol="ncacn_np", dce=rpc), epm.RPC_NO_MORE_ELEMENTS)


tests = [
    lists_the_endpoints,
    lists_those_of_an_interface,
    goes_from_page_to_page,
    has_its_own_lookup_paged,
    ends_a_lookup_before_its_end,
    is_refused_with_a_handle_that_is_not_its_own,
    finds_a_server_and_calls_it,
    finds_nobody,
]
for test in tests:
    name = test.__name__.replace("_", " ")
    try:
        test()
        print("ok", name, flush=True)
    except Exception as error:
        print("not ok %s: %s %s" % (name, type(error).__name__, error), flush=True)
