"""Serves four methods of rpcecho with impacket, on a port that it prints: `listening PORT`."""
import struct

from impacket.dcerpc.v5.dtypes import DWORD, LPWSTR, WSTR
from impacket.dcerpc.v5.ndr import NDRCALL, NDRUniConformantArray
from impacket.dcerpc.v5.rpcrt import (
    DCERPCServer,
    MSRPC_FAULT,
    MSRPC_REQUEST,
    MSRPCHeader,
    MSRPCRequestHeader,
    MSRPCRespHeader,
    PFC_FIRST_FRAG,
    PFC_LAST_FRAG,
)

MSRPC_CO_CANCEL, MSRPC_ORPHANED = 18, 19
BAD_STUB_DATA = 1783


class Bytes(NDRUniConformantArray):
    item = "c"


class Number(NDRCALL):
    structure = (("value", DWORD),)


class CountedData(NDRCALL):
    structure = (("len", DWORD), ("data", Bytes))


class Data(NDRCALL):
    structure = (("data", Bytes),)


class Text(NDRCALL):
    structure = (("s1", WSTR),)


class TextPointer(NDRCALL):
    structure = (("s2", LPWSTR),)


def add_one(stub):
    reply = Number()
    reply["value"] = (Number(stub)["value"] + 1) & 0xFFFFFFFF
    return reply.getData()


def echo_data(stub):
    request, reply = CountedData(stub), Data()
    data = b"".join(request["data"])
    if request["len"] != len(data):
        raise ValueError("the length is not that of the data")
    reply["data"] = data
    return reply.getData()


def source_data(stub):
    reply = Data()
    reply["data"] = bytes(i & 0xFF for i in range(Number(stub)["value"]))
    return reply.getData()


def test_call(stub):
    reply = TextPointer()
    reply["s2"] = Text(stub)["s1"]
    return reply.getData()


class Server(DCERPCServer):
    """impacket's own server takes one fragment for a whole request, and writes wrong lengths into the fragments of a response."""

    def read(self, size):
        data = b""
        while len(data) < size:
            more = self._clientSock.recv(size - len(data))
            if not more:
                return None
            data += more
        return data

    def recv(self):
        stubs = []
        while True:
            header = self.read(16)
            if header is None:
                return None
            type, flags, length = struct.unpack_from("<BB4xH", header, 2)
            pdu = header + self.read(length - 16)
            if type in (MSRPC_CO_CANCEL, MSRPC_ORPHANED):
                continue
            if type != MSRPC_REQUEST:
                return pdu
            stubs.append(MSRPCRequestHeader(pdu)["pduData"])
            if flags & PFC_LAST_FRAG:
                return pdu[:24], b"".join(stubs)

    def processRequest(self, data):
        if isinstance(data, bytes):
            return super().processRequest(data)
        header, stub = data
        routine = self._listenUUIDS[self._boundUUID]["CallBacks"].get(MSRPCRequestHeader(header)["op_num"])
        if routine is None:
            return self.fault(header, 0x1C010002)
        try:
            return header, routine(stub)
        except Exception:
            return self.fault(header, BAD_STUB_DATA)

    def fault(self, header, status):
        fault = MSRPCRespHeader(header)
        fault["type"] = MSRPC_FAULT
        fault["pduData"] = struct.pack("<II", status, 0)
        return fault

    def send(self, data):
        if isinstance(data, MSRPCHeader):
            data["flags"], data["frag_len"] = PFC_FIRST_FRAG | PFC_LAST_FRAG, len(data)
            return self._clientSock.sendall(data.get_packet())
        header, stub = data
        size = self._max_xmit_size - 32
        for offset in range(0, max(len(stub), 1), size):
            fragment = MSRPCRespHeader()
            fragment["type"] = 2
            fragment["call_id"] = MSRPCHeader(header)["call_id"]
            fragment["flags"] = (PFC_FIRST_FRAG if offset == 0 else 0) | (
                PFC_LAST_FRAG if offset + size >= len(stub) else 0
            )
            fragment["alloc_hint"] = len(stub) - offset
            fragment["pduData"] = stub[offset : offset + size]
            self._clientSock.sendall(fragment.get_packet())


server = Server()
server.addCallbacks(
    ("60a15ec5-4de8-11d7-a637-005056a20182", "1.0"),
    str(server.getListenPort()),
    {0: add_one, 1: echo_data, 3: source_data, 4: test_call},
)
server.start()
print("listening", server.getListenPort(), flush=True)
