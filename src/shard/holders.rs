//! Accounting per address: the connections of each address and the bytes they hold, so that the address that holds the
//! most is found when others need space. An address is an IPv4 address, an IPv6 network (`--ipv6-prefix`), as whoever
//! has one has all of its addresses, or a user of this host.
//!
//! A connection knows its holder by index, so that counting bytes hashes nothing. Per core: several cores share the
//! connections of an address about evenly, as the kernel spreads them by a hash (`SO_REUSEPORT`).

use crate::limits;
use rate::ClientAddress;
use reactor::Token;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

/// The address that connections are counted by: of an IPv6 address, the leading `bits`, at least one.
fn network_of(address: ClientAddress, bits: u8) -> ClientAddress {
    match address {
        ClientAddress::Ip(IpAddr::V6(v6)) => {
            let mask = u128::MAX << (u128::BITS - u32::from(bits));
            ClientAddress::Ip(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)))
        }
        other => other,
    }
}

/// Position of a connection: its holder, and its place among that holder's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderSlot {
    holder: u32,
    index: u32,
}

impl HolderSlot {
    /// The index of the holder.
    pub const fn holder(self) -> usize {
        self.holder as usize
    }
}

/// One address.
#[derive(Debug)]
struct Holder {
    /// `None`: a single connection of a trusted proxy, which carries the requests of many clients.
    address: Option<ClientAddress>,
    connections: Vec<Token>,
    bytes: usize,
    /// Start of the next search among its connections.
    cursor: usize,
    /// End of the time in which all its connections count as heavy, by the monotonic clock.
    heavy_until_ns: u64,
}

/// The addresses of one core's connections.
#[derive(Debug)]
pub struct Holders {
    /// Leading bits of an IPv6 address that are one holder.
    ipv6_prefix: u8,
    by_address: HashMap<ClientAddress, u32>,
    holders: Vec<Option<Holder>>,
    free: Vec<u32>,
}

impl Holders {
    /// No connections; `ipv6_prefix` leading bits of an IPv6 address, 1 to 128, are one holder.
    pub fn new(ipv6_prefix: u8) -> Self {
        Self { ipv6_prefix, by_address: HashMap::new(), holders: Vec::new(), free: Vec::new() }
    }

    /// Takes a connection in. Without an address it is a holder of its own.
    pub fn enter(&mut self, address: Option<ClientAddress>, token: Token) -> HolderSlot {
        let address = address.map(|address| network_of(address, self.ipv6_prefix));
        let known = address.and_then(|address| self.by_address.get(&address).copied());
        let holder = match known {
            Some(holder) => holder,
            None => {
                let holder = self.free.pop().unwrap_or_else(|| {
                    self.holders.push(None);
                    // At most one for each slot of the driver, a u32.
                    u32::try_from(self.holders.len() - 1).unwrap_or(u32::MAX)
                });
                let made = Holder { address, connections: Vec::new(), bytes: 0, cursor: 0, heavy_until_ns: 0 };
                self.holders[holder as usize] = Some(made);
                if let Some(address) = address {
                    self.by_address.insert(address, holder);
                }
                holder
            }
        };
        let connections = self.holders[holder as usize].as_mut().map(|holder| &mut holder.connections);
        let index = connections.map_or(0, |connections| {
            connections.push(token);
            connections.len() - 1
        });
        HolderSlot { holder, index: u32::try_from(index).unwrap_or(u32::MAX) }
    }

    /// Takes a connection out, with the bytes that it was counted with. Returns the connection that has its place now.
    pub fn leave(&mut self, place: HolderSlot, bytes: usize) -> Option<Token> {
        let slot = self.holders.get_mut(place.holder())?;
        let holder = slot.as_mut()?;
        holder.bytes -= bytes;
        holder.connections.swap_remove(place.index as usize);
        let moved = holder.connections.get(place.index as usize).copied();
        if holder.connections.is_empty() {
            if let Some(address) = &holder.address {
                self.by_address.remove(address);
            }
            *slot = None;
            self.free.push(place.holder);
        }
        if self.free.len() == self.holders.len() {
            // The crowd is gone, and its table with it.
            *self = Self::new(self.ipv6_prefix);
        }
        moved
    }

    /// Counts `now` bytes instead of `before` for a connection.
    pub fn recount(&mut self, place: HolderSlot, before: usize, now: usize) {
        if let Some(Some(holder)) = self.holders.get_mut(place.holder()) {
            holder.bytes = holder.bytes - before + now;
        }
    }

    /// Notes that a connection at this place had heavy work. All of its holder count as heavy for a while: a new
    /// connection for each request must not make it light.
    pub fn note_heavy(&mut self, place: HolderSlot, now_ns: u64) {
        if let Some(Some(holder)) = self.holders.get_mut(place.holder()) {
            holder.heavy_until_ns = now_ns + limits::HEAVY_NS;
        }
    }

    /// Returns true if a connection of this place's holder had heavy work lately.
    pub fn is_heavy(&self, place: HolderSlot, now_ns: u64) -> bool {
        self.holders.get(place.holder()).and_then(Option::as_ref).is_some_and(|holder| now_ns < holder.heavy_until_ns)
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Holder)> {
        self.holders.iter().enumerate().filter_map(|(index, holder)| Some((index, holder.as_ref()?)))
    }

    /// The holder with the most bytes, and how many.
    pub fn most_bytes(&self) -> Option<(usize, usize)> {
        self.present().map(|(index, holder)| (index, holder.bytes)).max_by_key(|&(_, bytes)| bytes)
    }

    /// The holder with the most connections, and how many.
    pub fn most_connections(&self) -> Option<(usize, usize)> {
        self.present().map(|(index, holder)| (index, holder.connections.len())).max_by_key(|&(_, count)| count)
    }

    /// The bytes of a holder.
    pub fn bytes(&self, holder: usize) -> usize {
        self.holders.get(holder).and_then(Option::as_ref).map_or(0, |holder| holder.bytes)
    }

    /// The connections of a holder.
    pub fn connections(&self, holder: usize) -> usize {
        self.holders.get(holder).and_then(Option::as_ref).map_or(0, |holder| holder.connections.len())
    }

    /// Some of a holder's connections, at most `looks`, going on after those of the last call.
    pub fn some_of(&mut self, holder: usize, looks: usize) -> impl Iterator<Item = Token> + use<> {
        let mut some = Vec::new();
        if let Some(Some(holder)) = self.holders.get_mut(holder) {
            let count = holder.connections.len();
            let from = if holder.cursor < count { holder.cursor } else { 0 };
            some.extend((0..looks.min(count)).map(|step| holder.connections[(from + step) % count]));
            holder.cursor = from + some.len();
        }
        some.into_iter()
    }

    /// Place of a connection after another of its holder left.
    pub fn place_after_move(place: HolderSlot, left: HolderSlot) -> HolderSlot {
        HolderSlot { index: left.index, ..place }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let entry = size_of::<(ClientAddress, u32)>() + 1;
        let connections = self.present().map(|(_, holder)| holder.connections.capacity() * size_of::<Token>());
        self.by_address.capacity() * entry
            + self.holders.capacity() * size_of::<Option<Holder>>()
            + self.free.capacity() * size_of::<u32>()
            + connections.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> ClientAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_ipv6_prefix_is_the_operators() {
        for (bits, holders) in [(1, 1), (48, 1), (64, 2), (128, 3)] {
            let mut counted = Holders::new(bits);
            for (slot, text) in ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"].into_iter().enumerate() {
                counted.enter(Some(address(text)), Token::new(u32::try_from(slot).unwrap(), 0));
            }
            assert_eq!(counted.by_address.len(), holders, "/{bits}");
        }
    }

    #[test]
    fn heavy_work_counts_for_all_connections_of_its_address() {
        let mut holders = Holders::new(64);
        let mut enter = |text, slot| holders.enter(Some(address(text)), Token::new(slot, 0));
        let [one, other] = [enter("192.0.2.1", 0), enter("192.0.2.2", 1)];
        holders.note_heavy(one, 5);
        let new = holders.enter(Some(address("192.0.2.1")), Token::new(2, 0));
        assert!(holders.is_heavy(new, 5) && !holders.is_heavy(other, 5));
        assert!(!holders.is_heavy(new, 5 + limits::HEAVY_NS));
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_are_one_holder() {
        let mut holders = Holders::new(64);
        let mut holder = |text, slot| holders.enter(Some(address(text)), Token::new(slot, 0)).holder();
        assert_eq!(holder("2001:db8::1", 0), holder("2001:db8::ffff:1", 1));
        assert_ne!(holder("2001:db8::1", 2), holder("2001:db8:0:1::1", 3));
        assert_eq!(holder("192.0.2.1", 4), holder("::ffff:192.0.2.1", 5));
        assert_ne!(holder("192.0.2.1", 6), holder("192.0.2.2", 7));
        let mut user = |uid| holders.enter(Some(ClientAddress::User(uid)), Token::new(8, 0)).holder();
        assert_ne!(user(0), user(1));
    }

    #[test]
    fn connections_of_a_trusted_proxy_are_no_crowd() {
        let mut holders = Holders::new(64);
        let places: Vec<HolderSlot> = (0..3).map(|slot| holders.enter(None, Token::new(slot, 0))).collect();
        let direct = (3..5).map(|slot| holders.enter(Some(address("192.0.2.1")), Token::new(slot, 0))).last().unwrap();
        assert_eq!(holders.most_connections(), Some((direct.holder(), 2)));
        places.into_iter().for_each(|place| assert_eq!(holders.leave(place, 0), None));
        assert_eq!(holders.connections(direct.holder()), 2);
    }

    #[test]
    fn a_search_goes_round_all_connections_of_a_holder() {
        let mut holders = Holders::new(64);
        let place = (0..5).map(|slot| holders.enter(Some(address("10.0.0.1")), Token::new(slot, 0))).last().unwrap();
        let mut seen: Vec<usize> =
            (0..3).flat_map(|_| holders.some_of(place.holder(), 2)).map(|token| token.slot()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(holders.some_of(place.holder(), 64).count(), 5, "each at most once");
    }

    proptest! {
        /// Whatever comes and goes, each holder has the connections and the bytes that are its own.
        #[test]
        fn sums_by_address_are_those_of_the_connections(steps in prop::collection::vec((0..6_u8, 0..1_000_usize), 0..200)) {
            let mut holders = Holders::new(64);
            let mut open: Vec<(u8, Token, HolderSlot, usize)> = Vec::new();
            for (number, (host, bytes)) in (0..).zip(steps) {
                match open.iter().position(|&(at, ..)| at == host).filter(|_| bytes % 3 == 0) {
                    Some(index) => {
                        let (_, _, place, held) = open.swap_remove(index);
                        if let Some(moved) = holders.leave(place, held) {
                            let other = open.iter_mut().find(|(_, token, ..)| *token == moved).unwrap();
                            other.2 = Holders::place_after_move(other.2, place);
                        }
                    }
                    None => {
                        let token = Token::new(number, 0);
                        // One of them is a proxy, each of whose connections stands for itself.
                        let address = (host > 0).then(|| IpAddr::from([10, 0, 0, host]).into());
                        let place = holders.enter(address, token);
                        holders.recount(place, 0, bytes);
                        open.push((host, token, place, bytes));
                    }
                }
                for &(host, token, place, _) in &open {
                    let own = || open.iter().filter(|&&(at, one, ..)| at == host && (host > 0 || one == token));
                    prop_assert_eq!(holders.connections(place.holder()), own().count());
                    prop_assert_eq!(holders.bytes(place.holder()), own().map(|&(.., bytes)| bytes).sum::<usize>());
                }
            }
            for index in (0..open.len()).rev() {
                let (_, _, place, held) = open.swap_remove(index);
                if let Some(moved) = holders.leave(place, held) {
                    let other = open.iter_mut().find(|(_, token, ..)| *token == moved).unwrap();
                    other.2 = Holders::place_after_move(other.2, place);
                }
            }
            prop_assert_eq!(holders.memory_bytes(), 0);
        }
    }
}
