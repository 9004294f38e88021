/**
 * The types that every IDL file uses, in IDL: they stand in for files that are not given. Names and layouts are those of
 * MS-DTYP and of the COM headers; corrections mend errors of published IDL.
 */

/** Types by the name of the file that is imported for them. A file imports all those before it. */
export const wellKnown: { readonly [name: string]: string } = {
  "ms-dtyp.idl": `
    typedef unsigned char BYTE, *PBYTE, *LPBYTE, UCHAR, *PUCHAR, UINT8, BOOLEAN, *PBOOLEAN;
    typedef char CHAR, *PCHAR, *PSTR, *LPSTR;
    typedef const char *LPCSTR, *PCSTR;
    typedef signed char INT8;
    typedef unsigned short WORD, *PWORD, *LPWORD, USHORT, *PUSHORT, UINT16;
    typedef short SHORT, *PSHORT, INT16;
    typedef wchar_t WCHAR, *PWCHAR, UNICODE, *LPWSTR, *PWSTR, *LMSTR, *BSTR;
    typedef const wchar_t *LPCWSTR, *PCWSTR, *LMCSTR;
    typedef unsigned long DWORD, *PDWORD, *LPDWORD, ULONG, *PULONG, UINT, *PUINT, UINT32, ULONG32, DWORD32, LCID,
      ACCESS_MASK, *PACCESS_MASK, SECURITY_INFORMATION, *PSECURITY_INFORMATION, NET_API_STATUS, HCALL;
    typedef long LONG, *PLONG, *LPLONG, INT, *PINT, *LPINT, INT32, LONG32, BOOL, *PBOOL, *LPBOOL, HRESULT, NTSTATUS, SCODE;
    typedef unsigned hyper QWORD, DWORD64, *PDWORD64, ULONG64, UINT64, ULONGLONG, *PULONGLONG, DWORDLONG, *PDWORDLONG;
    typedef hyper LONGLONG, *PLONGLONG, LONG64, *PLONG64, INT64;
    typedef float FLOAT;
    typedef double DOUBLE;
    typedef unsigned __int3264 ULONG_PTR, *PULONG_PTR, DWORD_PTR, SIZE_T, UINT_PTR;
    typedef __int3264 LONG_PTR, INT_PTR;
    typedef void VOID, *PVOID, *LPVOID, *HANDLE, *RPC_BINDING_HANDLE, *ADCONNECTION_HANDLE, *LDAP_UDP_HANDLE;
    typedef const void *LPCVOID;
    typedef UCHAR *STRING;
    typedef [context_handle] void *PCONTEXT_HANDLE;
    typedef [ref] PCONTEXT_HANDLE *PPCONTEXT_HANDLE;
    typedef struct _GUID { unsigned long Data1; unsigned short Data2; unsigned short Data3; byte Data4[8]; }
      GUID, UUID, *PGUID, *LPGUID, *REFGUID, IID, *LPIID, *REFIID, CLSID, *LPCLSID, *REFCLSID, FMTID, uuid_t;
    typedef struct _FILETIME { DWORD dwLowDateTime; DWORD dwHighDateTime; } FILETIME, *PFILETIME, *LPFILETIME;
    typedef struct _LUID { DWORD LowPart; LONG HighPart; } LUID, *PLUID;
    typedef struct _LARGE_INTEGER { hyper QuadPart; } LARGE_INTEGER, *PLARGE_INTEGER;
    typedef struct _ULARGE_INTEGER { unsigned hyper QuadPart; } ULARGE_INTEGER, *PULARGE_INTEGER;
    typedef struct _OLD_LARGE_INTEGER { unsigned long LowPart; long HighPart; } OLD_LARGE_INTEGER, *POLD_LARGE_INTEGER;
    typedef struct _SYSTEMTIME {
      WORD wYear; WORD wMonth; WORD wDayOfWeek; WORD wDay; WORD wHour; WORD wMinute; WORD wSecond; WORD wMilliseconds;
    } SYSTEMTIME, *PSYSTEMTIME, *LPSYSTEMTIME;
    typedef struct _RPC_UNICODE_STRING {
      unsigned short Length; unsigned short MaximumLength;
      [unique, size_is(MaximumLength / 2), length_is(Length / 2)] WCHAR *Buffer;
    } RPC_UNICODE_STRING, *PRPC_UNICODE_STRING, UNICODE_STRING, *PUNICODE_STRING, LSA_UNICODE_STRING, *PLSA_UNICODE_STRING;
    typedef struct _RPC_SID_IDENTIFIER_AUTHORITY { byte Value[6]; } RPC_SID_IDENTIFIER_AUTHORITY;
    typedef struct _RPC_SID {
      unsigned char Revision; unsigned char SubAuthorityCount; RPC_SID_IDENTIFIER_AUTHORITY IdentifierAuthority;
      [size_is(SubAuthorityCount)] unsigned long SubAuthority[];
    } RPC_SID, *PRPC_SID, SID, *PSID;
    typedef struct _OBJECT_TYPE_LIST { WORD Level; ACCESS_MASK Remaining; GUID *ObjectType; }
      OBJECT_TYPE_LIST, *POBJECT_TYPE_LIST;
    typedef struct _ACL {
      unsigned char AclRevision; unsigned char Sbz1; unsigned short AclSize; unsigned short AceCount; unsigned short Sbz2;
    } ACL, *PACL;
    typedef USHORT SECURITY_DESCRIPTOR_CONTROL, *PSECURITY_DESCRIPTOR_CONTROL;
    typedef struct _SECURITY_DESCRIPTOR {
      UCHAR Revision; UCHAR Sbz1; SECURITY_DESCRIPTOR_CONTROL Control; PSID Owner; PSID Group; PACL Sacl; PACL Dacl;
    } SECURITY_DESCRIPTOR, *PSECURITY_DESCRIPTOR;
  `,
  "unknwn.idl": `
    typedef struct tagMInterfacePointer { unsigned long ulCntData; [size_is(ulCntData)] byte abData[]; }
      MInterfacePointer, *PMInterfacePointer;
    [object, uuid(00000000-0000-0000-C000-000000000046)] interface IUnknown {
      HRESULT QueryInterface([in] REFIID riid, [out, iid_is(riid)] void **ppvObject);
      ULONG AddRef();
      ULONG Release();
    }
    [object, uuid(00000001-0000-0000-C000-000000000046)] interface IClassFactory : IUnknown {
      HRESULT CreateInstance([in] IUnknown *pUnkOuter, [in] REFIID riid, [out, iid_is(riid)] void **ppvObject);
      HRESULT LockServer([in] BOOL fLock);
    }
  `
}

/** The files of COM that are imported for the types of {@link comTypes}. */
export const comFiles: ReadonlySet<string> = new Set(
  "unknwn.idl unknwnbase.idl wtypes.idl wtypesbase.idl objidl.idl objidlbase.idl objbase.idl oaidl.idl ocidl.idl".split(
    " "
  )
)

/** What files of COM declare, and the interfaces to which they have pointers; they come before those of MS-DTYP. */
export const comTypes: string = `
  typedef wchar_t OLECHAR, *LPOLESTR;
  typedef const wchar_t *LPCOLESTR;
  typedef short VARIANT_BOOL;
  typedef double DATE;
  typedef unsigned short VARTYPE;
  typedef unsigned long PROPID, COLORREF, OLE_COLOR;
  typedef long DISPID, MEMBERID;
  typedef struct tagFLAGGED_WORD_BLOB {
    unsigned long cBytes; unsigned long clSize; [size_is(clSize)] unsigned short asData[];
  } FLAGGED_WORD_BLOB;
  typedef [unique] FLAGGED_WORD_BLOB *BSTR, *wireBSTR;
  typedef struct tagBLOB { unsigned long cbSize; [size_is(cbSize)] byte *pBlobData; } BLOB, *LPBLOB;
  typedef struct tagCY { hyper int64; } CY, CURRENCY;
  typedef struct tagDEC {
    unsigned short wReserved; byte scale; byte sign; unsigned long Hi32; unsigned hyper Lo64;
  } DECIMAL;
  typedef struct tagPOINT { long x; long y; } POINT;
  typedef struct tagSIZE { long cx; long cy; } SIZE;
  typedef struct tagRECT { long left; long top; long right; long bottom; } RECT;
  ${
  [
    "IDispatch ITypeInfo ITypeLib ITypeComp IRecordInfo IErrorInfo ICreateErrorInfo ISupportErrorInfo IEnumVARIANT",
    "ISequentialStream IStream IStorage ILockBytes IMoniker IBindCtx IRunningObjectTable IMarshal IMalloc IDataObject",
    "IAdviseSink IPersist IPersistStream IPersistFile IPersistStorage IPersistStreamInit IEnumUnknown IEnumString",
    "IEnumMoniker IEnumSTATSTG IEnumFORMATETC IEnumSTATDATA IServiceProvider IConnectionPoint IPropertyBag IErrorLog",
    "IConnectionPointContainer IProvideClassInfo"
  ].join(" ").split(" ").map((name) => `interface ${name};`).join(" ")
}
`

/** The pidl dialect's names for the same, used where a file does not declare them itself. */
export const pidlTypes = `
  typedef unsigned char uint8;
  typedef signed char int8;
  typedef unsigned short uint16;
  typedef short int16;
  typedef unsigned long uint32;
  typedef long int32;
  typedef unsigned hyper uint64, hyper_t;
  typedef hyper int64, dlong_t;
  typedef unsigned long time_t, WERROR;
  typedef struct { unsigned long low; unsigned long high; } udlong, dlong, NTTIME, NTTIME_1sec, NTTIME_hyper;
  typedef [context_handle] void *policy_handle;
`

/** How many methods an object of a base interface has, whose IDL is not given. */
export const slotsOfBase: ReadonlyMap<string, number> = new Map(Object.entries({
  IUnknown: 3,
  AsyncIUnknown: 9,
  IClassFactory: 5,
  IDispatch: 7,
  IPersist: 4,
  IPersistStream: 8,
  IPersistFile: 9,
  IPersistStorage: 10,
  IPersistStreamInit: 9,
  IMoniker: 23,
  IBindCtx: 13,
  IRunningObjectTable: 10,
  ISequentialStream: 5,
  IStream: 14,
  IStorage: 18,
  ILockBytes: 10,
  IMarshal: 9,
  IMalloc: 9,
  IDataObject: 12,
  IAdviseSink: 8,
  IEnumUnknown: 7,
  IEnumString: 7,
  IEnumMoniker: 7,
  IEnumSTATSTG: 7,
  IEnumFORMATETC: 7,
  IEnumSTATDATA: 7,
  IEnumVARIANT: 7,
  ITypeComp: 5,
  ITypeInfo: 22,
  ITypeLib: 13,
  IRecordInfo: 19,
  IErrorInfo: 8,
  ICreateErrorInfo: 8,
  ISupportErrorInfo: 4,
  IErrorLog: 4,
  IPropertyBag: 5,
  IServiceProvider: 4,
  IProvideClassInfo: 4,
  IConnectionPoint: 8,
  IConnectionPointContainer: 5
}))

/** An error of published IDL, and what mends it. */
export interface Correction {
  readonly uuid: string
  readonly type: string
  readonly field: string
  readonly add: string
}

/** The interface atsvc sends text where its definition has one character. */
export const corrections: ReadonlyArray<Correction> = [
  { uuid: "1ff70682-0a51-30e8-076d-740be8cee98b", type: "AT_ENUM", field: "Command", add: "string" }
]
