/**
 * The interfaces of DCE, of Samba's tests and of the services of Windows: their usual names, and the documents that specify them.
 */

const known: { readonly [uuid: string]: readonly [name: string, document?: string] } = {
  // DCE and tests
  "afa8bd80-7d8a-11c9-bef4-08002b102989": ["mgmt", "C706"],
  "e1af8308-5d1f-11c9-91a4-08002b14a0fa": ["epmapper", "C706"],
  "60a15ec5-4de8-11d7-a637-005056a20182": ["rpcecho"],

  // accounts, domains and directories
  "12345778-1234-abcd-ef00-0123456789ab": ["lsarpc", "MS-LSAD, MS-LSAT"],
  "12345778-1234-abcd-ef00-0123456789ac": ["samr", "MS-SAMR"],
  "12345678-1234-abcd-ef00-01234567cffb": ["netlogon", "MS-NRPC"],
  "3919286a-b10c-11d0-9ba8-00c04fd92ef5": ["dssetup", "MS-DSSP"],
  "e3514235-4b06-11d1-ab04-00c04fc2dcd2": ["drsuapi", "MS-DRSR"],
  "7c44d7d4-31d5-424c-bd5e-2b3e1f323d22": ["dsaop", "MS-DRSR"],
  "f5cc5a18-4264-101a-8c59-08002b2f8426": ["nspi", "MS-NSPI"],
  "1544f5e0-613c-11d1-93df-00c04fd7bd09": ["rfri", "MS-OXABREF"],
  "50abc2a4-574d-40b3-9d66-ee4fd5fba076": ["DnsServer", "MS-DNSP"],
  "3dde7c30-165d-11d1-ab8f-00805f14db40": ["BackupKey", "MS-BKRP"],
  "91ae6020-9e3c-11cf-8d7c-00aa00c091be": ["ICertPassage", "MS-ICPR"],

  // the machine and its services
  "367abb81-9844-35f1-ad32-98f038001003": ["svcctl", "MS-SCMR"],
  "338cd001-2244-31f1-aaaa-900038001003": ["winreg", "MS-RRP"],
  "4b324fc8-1670-01d3-1278-5a47bf6ee188": ["srvsvc", "MS-SRVS"],
  "6bffd098-a112-3610-9833-46c3f87e345a": ["wkssvc", "MS-WKST"],
  "6bffd098-a112-3610-9833-012892020162": ["browser", "MS-BRWSA"],
  "82273fdc-e32a-18c3-3f78-827929dc23ea": ["eventlog", "MS-EVEN"],
  "f6beaff7-1e19-4fbb-9f8f-b89e2018337c": ["eventlog6", "MS-EVEN6"],
  "1ff70682-0a51-30e8-076d-740be8cee98b": ["atsvc", "MS-TSCH"],
  "378e52b0-c0a9-11cf-822d-00aa0051e40f": ["SASec", "MS-TSCH"],
  "86d35949-83c9-4044-b424-db363231fd0c": ["ITaskSchedulerService", "MS-TSCH"],
  "8d9f4e40-a03d-11ce-8f69-08003e30051b": ["ntsvcs"],
  "894de0c0-0d55-11d3-a322-00c04fa321a1": ["InitShutdown", "MS-RSP"],
  "d95afe70-a6d5-4259-822e-2c84da1ddb0d": ["WindowsShutdown", "MS-RSP"],
  "8fb6d884-2388-11d0-8c35-00c04fda2795": ["W32Time", "MS-W32T"],
  "5ca4a760-ebb1-11cf-8611-00a0245420ed": ["IcaApi", "MS-TSTS"],
  "484809d6-4239-471b-b5bc-61df8c23ac48": ["TermSrvSession", "MS-TSTS"],
  "17fdd703-1827-4e34-79d4-24a55c53bb37": ["msgsvc", "MS-MSRP"],
  "5a7b91f8-ff00-11d0-a9b2-00c04fb6e6fc": ["msgsvcsend", "MS-MSRP"],
  "6b5bdd1e-528c-422c-af8c-a4079be4fe48": ["RemoteFW", "MS-FASP"],
  "2f5f6520-ca46-1067-b319-00dd010662da": ["tapsrv", "MS-TRP"],
  "6bffd098-a112-3610-9833-46c3f874532d": ["dhcpsrv", "MS-DHCPM"],
  "5b821720-f63b-11d0-aad2-00c04fc324db": ["dhcpsrv2", "MS-DHCPM"],

  // files and printers
  "4fc742e0-4a10-11cf-8273-00aa004ae673": ["netdfs", "MS-DFSNM"],
  "897e2e5f-93f3-4376-9c9c-fd2277495c27": ["FrsTransport", "MS-FRS2"],
  "f5cc59b4-4264-101a-8c59-08002b2f8426": ["frsrpc", "MS-FRS1"],
  "c681d488-d850-11d0-8c52-00c04fd90f7e": ["efsrpc", "MS-EFSR"],
  "df1941c5-fe89-4e79-bf10-463657acf44d": ["efsrpc", "MS-EFSR"],
  "a8e0653c-2744-4389-a61d-7373df8b2292": ["FileServerVssAgent", "MS-FSRVP"],
  "ccd8c074-d0e5-4a40-92b4-d074faa6ba28": ["Witness", "MS-SWN"],
  "885d85fb-c754-4062-a0e7-6872ce0064f4": ["mdssvc"],
  "12345678-1234-abcd-ef00-0123456789ab": ["spoolss", "MS-RPRN"],
  "76f03f96-cdfd-44fc-a22c-64950a001209": ["IRemoteWinspool", "MS-PAR"],

  // DCOM
  "99fcfec4-5260-101b-bbcb-00aa0021347a": ["IObjectExporter", "MS-DCOM"],
  "4d9f4ab8-7d1c-11cf-861e-0020af6e7c57": ["IActivation", "MS-DCOM"],
  "000001a0-0000-0000-c000-000000000046": ["IRemoteSCMActivator", "MS-DCOM"],
  "00000131-0000-0000-c000-000000000046": ["IRemUnknown", "MS-DCOM"],
  "00000143-0000-0000-c000-000000000046": ["IRemUnknown2", "MS-DCOM"]
}

/** What is known of an interface; null for what is not. */
export interface Known {
  readonly name: string | null
  /** The document of the interface: `MS-SAMR` of Microsoft's Open Specifications, or `C706` of the Open Group. */
  readonly document: string | null
}

/** The name and the document of an interface. The UUID is in lower case. */
export const knownOf = (uuid: string): Known => {
  const [name = null, document = null] = (Object.hasOwn(known, uuid) ? known[uuid] : undefined) ?? []
  return { name, document }
}
