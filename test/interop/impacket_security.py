"""Logs in with NTLM, by impacket, to the rpcecho servers of security_server.ts.

The arguments are the host, the ports of the servers that demand connect, integrity and privacy, the workgroup, a user and its password.
Prints `ok NAME` or `not ok NAME: REASON` for each test.
"""
import sys

from impacket.dcerpc.v5 import transport
from impacket.dcerpc.v5.dtypes import DWORD
from impacket.dcerpc.v5.ndr import NDRCALL, NDRUniConformantArray
from impacket.dcerpc.v5.rpcrt import (
    RPC_C_AUTHN_LEVEL_CONNECT,
    RPC_C_AUTHN_LEVEL_PKT,
    RPC_C_AUTHN_LEVEL_PKT_INTEGRITY,
    RPC_C_AUTHN_LEVEL_PKT_PRIVACY,
    DCERPCException,
)
from impacket.uuid import uuidtup_to_bin

host, connect_port, integrity_port, privacy_port, workgroup, user, password = sys.argv[1:]
RPCECHO = uuidtup_to_bin(("60a15ec5-4de8-11d7-a637-005056a20182", "1.0"))


class DCERPCSessionError(DCERPCException):
    pass


class Bytes(NDRUniConformantArray):
    item = "c"


class AddOne(NDRCALL):
    opnum = 0
    structure = (("value", DWORD),)


class AddOneResponse(NDRCALL):
    structure = (("value", DWORD),)


class EchoData(NDRCALL):
    opnum = 1
    structure = (("len", DWORD), ("data", Bytes))


class EchoDataResponse(NDRCALL):
    structure = (("data", Bytes),)


def connect(port, level, user=user, password=password, fragment=0):
    connection = transport.DCERPCTransportFactory("ncacn_ip_tcp:%s[%s]" % (host, port))
    connection.set_credentials(user, password, workgroup)
    rpc = connection.get_dce_rpc()
    rpc.set_auth_level(level)
    rpc.connect()
    rpc.bind(RPCECHO)
    if fragment:
        rpc.set_max_fragment_size(fragment)
    return rpc


def add_one(rpc):
    request = AddOne()
    request["value"] = 41
    return rpc.request(request, checkError=False)["value"]


def echo(rpc, data):
    request = EchoData()
    request["len"], request["data"] = len(data), data
    return b"".join(rpc.request(request, checkError=False)["data"])


def same(actual, expected):
    if actual != expected:
        raise AssertionError("%.200r is not %.200r" % (actual, expected))


def refusal(port, level, **changes):
    try:
        rpc = connect(port, level, **changes)
        add_one(rpc)
    except DCERPCException as error:
        return str(error)
    raise AssertionError("it was not refused")


def refused(*arguments, **changes):
    text = refusal(*arguments, **changes)
    if "access_denied" not in text:
        raise AssertionError("access_denied is not in " + text)


def calls(port, level, fragment=0):
    rpc = connect(port, level, fragment=fragment)
    for _ in range(5):
        same(add_one(rpc), 42)
    data = bytes(i * 7 & 0xFF for i in range(20001))
    same(echo(rpc, data), data)
    same(add_one(rpc), 42)
    rpc.disconnect()


def at_level_connect():
    calls(connect_port, RPC_C_AUTHN_LEVEL_CONNECT)


def at_level_integrity():
    calls(integrity_port, RPC_C_AUTHN_LEVEL_PKT_INTEGRITY)


def at_level_privacy():
    calls(privacy_port, RPC_C_AUTHN_LEVEL_PKT_PRIVACY)


def in_fragments_of_512_bytes():
    calls(privacy_port, RPC_C_AUTHN_LEVEL_PKT_PRIVACY, 512)


def at_level_packet_where_impacket_signs_nothing_it_is_refused():
    refused(connect_port, RPC_C_AUTHN_LEVEL_PKT)


def below_the_level_of_a_server_it_is_refused():
    refused(integrity_port, RPC_C_AUTHN_LEVEL_CONNECT)
    refused(privacy_port, RPC_C_AUTHN_LEVEL_PKT_INTEGRITY)


def a_wrong_password_and_a_wrong_user_are_refused_with_the_same_words():
    for level in (RPC_C_AUTHN_LEVEL_CONNECT, RPC_C_AUTHN_LEVEL_PKT_INTEGRITY, RPC_C_AUTHN_LEVEL_PKT_PRIVACY):
        refused(connect_port, level, password="wrong")
        same(
            refusal(connect_port, level, user="mallory", password="wrong"),
            refusal(connect_port, level, password="wrong"),
        )


tests = [
    at_level_connect,
    at_level_integrity,
    at_level_privacy,
    in_fragments_of_512_bytes,
    at_level_packet_where_impacket_signs_nothing_it_is_refused,
    below_the_level_of_a_server_it_is_refused,
    a_wrong_password_and_a_wrong_user_are_refused_with_the_same_words,
]
for test in tests:
    name = test.__name__.replace("_", " ")
    try:
        test()
        print("ok", name, flush=True)
    except Exception as error:
        print("not ok %s: %s %s" % (name, type(error).__name__, error), flush=True)
