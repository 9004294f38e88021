/**
 * The forms of network addresses.
 */

/** An IPv4 address or an IPv6 address, which may have a zone. */
export const isIpAddress = (address: string): boolean => {
  const withoutZone = address.replace(/%[A-Za-z0-9._-]+$/, "")
  return isIpv4(withoutZone) || isIpv6(withoutZone)
}

/** Four octets, without leading zeros. */
export const isIpv4 = (address: string): boolean =>
  /^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(?!$)|$)){4}$/.test(address)

/** Eight groups of hexadecimal digits. `::` stands for one zero group or more, and an IPv4 address for the last two groups. */
const isIpv6 = (address: string): boolean => {
  const last = address.slice(address.lastIndexOf(":") + 1)
  const halves = (isIpv4(last) ? address.slice(0, -last.length) + "0:0" : address).split("::")
  const groups = halves.flatMap((half) => half === "" ? [] : half.split(":"))
  return groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group)) &&
    (halves.length === 1 ? groups.length === 8 : halves.length === 2 && groups.length < 8)
}

// A name that ends in a number would be an IPv4 address, and was found to be none.
export const isHostName = (address: string): boolean =>
  address.length <= 253 &&
  address.replace(/\.$/, "").split(".").every((label) =>
    /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label)
  ) &&
  !/(^|\.)[0-9]+\.?$/.test(address)
