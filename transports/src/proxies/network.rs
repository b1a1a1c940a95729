use std::io;
use std::net::IpAddr;

use crate::link::invalid;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    first: IpAddr,
    /// How many bits are the same.
    length: u32,
}

impl Network {
    /// An address (`192.0.2.1`, `2001:db8::1`), or a network in CIDR notation (`10.0.0.0/8`).
    pub(super) fn parse(text: &str) -> io::Result<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let wrong = || {
            let message = "is not an IP address, or a network such as 10.0.0.0/8 or fd00::/8";
            invalid(format!("{text:?} {message}"))
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|length| *length <= bits).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        let network = match address.to_canonical() {
            // All of them are written as addresses of IPv6.
            first if first.is_ipv4() && bits == 128 && length >= 96 => {
                Self { first, length: length - 96 }
            }
            _ => Self { first: address, length },
        };
        match network.of(network.first) {
            first if first == network.first => Ok(network),
            first => {
                let message = format!("write {first}/{length}, or {address} for one address");
                Err(invalid(format!("{text:?} has bits behind those of the network; {message}")))
            }
        }
    }

    /// Whether an address in its canonical form is in the network.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.of(address) == self.first
    }

    /// The first address of a network of that length that an address is in.
    fn of(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - self.length.min(32)).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - self.length.min(128)).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, inside, outside) in [
            ("192.0.2.1", &["192.0.2.1"][..], &["192.0.2.2", "::1", "::c000:201"][..]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.255.255.255"]),
            ("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127", "192.0.3.128"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "2001:db8::1"]),
            ("127.0.0.1/32", &["127.0.0.1"], &["127.0.0.2"]),
            ("2001:db8::1", &["2001:db8::1"], &["2001:db8::2"]),
            ("fd00::/8", &["fd00::", "fdff::1"], &["fe00::", "fc00::1"]),
            ("::/0", &["::", "2001:db8::1"], &["0.0.0.0", "10.0.0.1"]),
            ("::1", &["::1"], &["0.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:192.0.2.1", &["192.0.2.1"], &["192.0.2.2"]),
        ] {
            let parsed = Network::parse(network).unwrap();
            for address in inside {
                assert!(parsed.contains(address.parse().unwrap()), "{address} in {network}");
            }
            for address in outside {
                assert!(!parsed.contains(address.parse().unwrap()), "{address} in {network}");
            }
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused_with_what_to_write() {
        for (text, reason) in [
            ("", "such as 10.0.0.0/8"),
            ("localhost", "such as"),
            ("10.0.0.0/", "such as"),
            ("10.0.0.0/33", "such as"),
            ("10.0.0.0/+8", "such as"),
            ("10.0.0.0/8/8", "such as"),
            ("10.0.0.0/255.0.0.0", "such as"),
            ("::/129", "such as"),
            ("[::1]", "such as"),
            ("10.0.0.1:80", "such as"),
            (" 10.0.0.1", "such as"),
            ("10.1.2.3/8", "write 10.0.0.0/8, or 10.1.2.3 for one address"),
            ("2001:db8::1/32", "write 2001:db8::/32, or 2001:db8::1"),
        ] {
            let error = Network::parse(text).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }
}
