//! Resolves the configured addresses to listening sockets: names are resolved, duplicates are refused, and each
//! reactor gets a listener for each address.
//!
//! A TCP address has a listener for each reactor (`SO_REUSEPORT`): the kernel spreads connections over them. A unix
//! socket has one queue, which the reactors share.

use crate::{
    config::{Config, ListenAddress},
    limits,
};
use reactor::{
    Listener,
    listen::{self, UnixAddress, UnixListening},
};
use std::{
    fmt, io,
    net::{Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    thread,
    time::Instant,
};

/// One resolved address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(UnixAddress),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

impl Endpoint {
    /// Returns true if only this host can reach the address.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// The role of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves clients.
    Public,
    /// Serves clients, and proxies that begin each connection with a PROXY protocol header.
    Proxied,
    /// Serves statistics only.
    Admin,
}

impl Role {
    /// The option that configures such addresses.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Public => "--listen",
            Self::Proxied => "--proxy-listen",
            Self::Admin => "--admin-listen",
        }
    }
}

/// All configured addresses, the public ones first.
#[must_use]
pub fn addresses(config: &Config) -> Vec<(Role, &ListenAddress)> {
    let each =
        [(Role::Public, &config.listen), (Role::Proxied, &config.proxy_listen), (Role::Admin, &config.admin_listen)];
    each.into_iter().flat_map(|(role, places)| places.iter().map(move |place| (role, place))).collect()
}

/// A configured address, and what it resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAddress {
    /// The resolved address.
    pub endpoint: Endpoint,
    /// Role of the listener.
    pub role: Role,
    /// The address as configured.
    requested: ListenAddress,
    /// `[::]` without IPv4.
    only_v6: bool,
}

impl ResolvedAddress {
    /// Returns true if the address may be skipped when this host does not have it, because its name has another one.
    fn is_optional(&self) -> bool {
        matches!(self.requested, ListenAddress::Name(..) | ListenAddress::Any(_))
    }

    /// Binds the address for a moment, to test that it is free.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn try_out(&self) -> io::Result<()> {
        match &self.endpoint {
            Endpoint::Tcp(address) => listen::available(*address, self.only_v6),
            Endpoint::Unix(address) => listen::Claim::of(address).map(drop),
        }
    }
}

/// Resolves each of the `requested` addresses. `look_up` resolves a name.
///
/// # Errors
/// One line: a name that has no address, a duplicate, or two addresses of which one takes the other's connections.
pub fn resolve(
    requested: &[(Role, &ListenAddress)],
    look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Vec<ResolvedAddress>, String> {
    let mut places: Vec<ResolvedAddress> = Vec::new();
    for &(role, address) in requested {
        let option = role.option();
        let found = match address {
            ListenAddress::Ip(address) => vec![Endpoint::Tcp(*address)],
            ListenAddress::Unix(address) => vec![Endpoint::Unix(address.clone())],
            ListenAddress::Any(port) => vec![Endpoint::Tcp((Ipv6Addr::UNSPECIFIED, *port).into())],
            ListenAddress::Name(name, port) => {
                let found = look_up(name, *port).map_err(|error| format!("{option} {address}: {name}: {error}"))?;
                if found.is_empty() {
                    return Err(format!("{option} {address}: {name} has no address"));
                }
                found.into_iter().map(Endpoint::Tcp).collect()
            }
        };
        let first = places.len();
        for endpoint in found {
            // A name may have an address twice, by two lines of a file.
            if places[first..].iter().any(|place| place.endpoint == endpoint) {
                continue;
            }
            if let Some(other) = places[..first].iter().find(|place| is_same(&place.endpoint, &endpoint)) {
                return Err(format!(
                    "{option} {address}: {endpoint} is already configured by {} {}",
                    other.role.option(),
                    other.requested
                ));
            }
            places.push(ResolvedAddress { endpoint, role, requested: address.clone(), only_v6: false });
        }
    }
    if places.len() > reactor::LISTENERS_MAX {
        return Err(format!(
            "{} addresses to listen on, but at most {} are possible",
            places.len(),
            reactor::LISTENERS_MAX
        ));
    }
    separate(&mut places)?;
    Ok(places)
}

/// Returns true if two addresses are the same. Port 0 is another port each time.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    one == other && !matches!(one, Endpoint::Tcp(address) if address.port() == 0)
}

/// Lets `[::]` take IPv6 alone where IPv4 addresses of its port are requested too, and refuses a wildcard beside an
/// address that it covers: which of the two would get a connection is decided by the kernel, not by the configuration.
fn separate(places: &mut [ResolvedAddress]) -> Result<(), String> {
    let tcp = |place: &ResolvedAddress| match &place.endpoint {
        Endpoint::Tcp(address) if address.port() != 0 => Some(*address),
        _ => None,
    };
    for index in 0..places.len() {
        let Some(wildcard) = tcp(&places[index]).filter(|address| address.ip().is_unspecified()) else { continue };
        for other in 0..places.len() {
            let Some(address) = tcp(&places[other]).filter(|address| address.port() == wildcard.port()) else {
                continue;
            };
            if other == index {
                continue;
            }
            let is_both = matches!(places[index].requested, ListenAddress::Any(_));
            if wildcard.is_ipv6() && address.is_ipv4() && !is_both {
                places[index].only_v6 = true;
            } else if is_both || wildcard.is_ipv4() == address.is_ipv4() {
                let [wide, narrow] =
                    [&places[index], &places[other]].map(|place| (place.role.option(), &place.requested));
                return Err(format!("{} {}: already covered by {} {}", narrow.0, narrow.1, wide.0, wide.1));
            }
        }
    }
    Ok(())
}

/// The addresses of a name, by the resolver of this host.
///
/// # Errors
/// There is none.
pub fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    (name, port).to_socket_addrs().map(Iterator::collect)
}

/// The listening sockets.
#[derive(Debug)]
pub struct Listening {
    /// Their addresses, in the order of each reactor's listeners, with the ports that the kernel chose.
    pub places: Vec<ResolvedAddress>,
    tcp: Vec<Vec<TcpListener>>,
    unix: Vec<(usize, UnixListening)>,
    reactors: usize,
}

impl Listening {
    /// Listens on all `places`, for `reactors` reactors. `unix_mode` sets the permissions of socket files.
    ///
    /// # Errors
    /// One line: the address, the reason, and what to do about it.
    pub fn open(places: Vec<ResolvedAddress>, reactors: usize, unix_mode: u32) -> Result<Self, String> {
        let mut listening = Self { places: Vec::new(), tcp: Vec::new(), unix: Vec::new(), reactors };
        let mut passed_over = Vec::new();
        for mut place in places {
            let opened = match &place.endpoint {
                Endpoint::Tcp(address) => {
                    Self::open_tcp(*address, &mut place, reactors).map(|each| listening.tcp.push(each))
                }
                Endpoint::Unix(address) => {
                    let opened = UnixListening::at(address, unix_mode, limits::LISTEN_BACKLOG);
                    opened.map(|socket| listening.unix.push((listening.places.len(), socket)))
                }
            };
            match opened {
                Ok(()) => listening.places.push(place),
                Err(error) if place.is_optional() && is_missing(&error) => passed_over.push((place, error)),
                Err(error) => return Err(cannot_listen(&place, &error)),
            }
        }
        for (place, error) in passed_over {
            if !listening.places.iter().any(|open| open.requested == place.requested) {
                return Err(cannot_listen(&place, &error));
            }
            tracing::warn!(
                "{} {}: skipped {}, which this host does not have",
                place.role.option(),
                place.requested,
                place.endpoint
            );
        }
        Ok(listening)
    }

    /// The listeners of one TCP address, and in `place` the port that the kernel chose.
    fn open_tcp(address: SocketAddr, place: &mut ResolvedAddress, reactors: usize) -> io::Result<Vec<TcpListener>> {
        let deadline = Instant::now() + limits::LISTEN_WAIT;
        let mut is_noted = false;
        let mut opened = loop {
            let opened = listen::listeners(address, place.only_v6, reactors, limits::LISTEN_BACKLOG);
            let is_taken = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
            if !is_taken || Instant::now() >= deadline {
                break opened;
            }
            if !std::mem::replace(&mut is_noted, true) {
                let wait = limits::LISTEN_WAIT;
                tracing::info!("{address} is in use, perhaps by a server that just ended; tried again for {wait:?}");
            }
            thread::sleep(limits::LISTEN_RETRY);
        };
        if opened.as_ref().is_err_and(is_missing) && matches!(place.requested, ListenAddress::Any(_)) {
            // A host without IPv6.
            let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
            opened = listen::listeners(everywhere, false, reactors, limits::LISTEN_BACKLOG);
        }
        let each = opened?;
        place.endpoint = Endpoint::Tcp(each[0].local_addr()?);
        Ok(each)
    }

    /// One listener of each place for each reactor, and the owner of the sockets' files. Where statistics have a place
    /// of their own, the others leave them their connections.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn share(self) -> io::Result<(Vec<Vec<Listener>>, SocketFiles)> {
        let mut each: Vec<Vec<Listener>> = (0..self.reactors).map(|_| Vec::new()).collect();
        let mut tcp = self.tcp.into_iter();
        let mut unix = self.unix.iter().peekable();
        let has_admin = self.places.iter().any(|place| place.role == Role::Admin);
        for (index, place) in self.places.iter().enumerate() {
            let is_public = has_admin && place.role != Role::Admin;
            let spared = if is_public { limits::ADMIN_CONNECTIONS_MAX } else { 0 };
            if let Some((_, socket)) = unix.next_if(|(place, _)| *place == index) {
                for listeners in &mut each {
                    listeners.push(Listener::from(socket.share()?).sparing(spared));
                }
            } else {
                for (listeners, listener) in each.iter_mut().zip(tcp.next().into_iter().flatten()) {
                    listeners.push(Listener::from(listener).sparing(spared));
                }
            }
        }
        Ok((each, SocketFiles(self.unix.into_iter().map(|(_, socket)| socket).collect())))
    }
}

/// The files of unix sockets, which are removed when this is dropped. Each also keeps its queue open: to be dropped
/// when the reactors have closed theirs.
#[derive(Debug)]
pub struct SocketFiles(#[expect(dead_code, reason = "dropped")] Vec<UnixListening>);

/// Returns true if this host does not have the address, or its whole family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn cannot_listen(place: &ResolvedAddress, error: &io::Error) -> String {
    let at = &place.endpoint;
    let is_unix = matches!(at, Endpoint::Unix(_));
    match error.kind() {
        io::ErrorKind::AddrInUse if !is_unix => {
            format!("cannot listen on {at}: the address is in use (try: ss -ltnp)")
        }
        io::ErrorKind::AddrInUse => format!("cannot listen on {at}: the address is in use (try: ss -lxp)"),
        io::ErrorKind::PermissionDenied if !is_unix => {
            format!("cannot listen on {at}: ports below 1024 need root or CAP_NET_BIND_SERVICE")
        }
        io::ErrorKind::AddrNotAvailable => format!("cannot listen on {at}: this host does not have that address"),
        _ => format!("cannot listen on {at}: {error}"),
    }
}

/// The addresses for clients, or those for statistics, in one line.
#[must_use]
pub fn list(places: &[ResolvedAddress], is_admin: bool) -> String {
    let places = places.iter().filter(|place| (place.role == Role::Admin) == is_admin);
    places.map(|place| place.endpoint.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<Vec<(String, bool)>, String> {
        let requested: Vec<ListenAddress> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let requested: Vec<_> = requested.iter().map(|address| (Role::Public, address)).collect();
        let hosts = |name: &str, port: u16| match name {
            "localhost" => Ok(vec![(Ipv6Addr::LOCALHOST, port).into(), ([127, 0, 0, 1], port).into()]),
            "twice" => Ok(vec![([127, 0, 0, 1], port).into(); 2]),
            "nothing" => Ok(Vec::new()),
            _ => Err(io::Error::other("not found")),
        };
        Ok(resolve(&requested, hosts)?.into_iter().map(|place| (place.endpoint.to_string(), place.only_v6)).collect())
    }

    fn places(texts: &[&str]) -> Vec<String> {
        of(texts).unwrap().into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn a_name_is_all_of_its_addresses_once() {
        assert_eq!(places(&["localhost:80", "unix:/a"]), ["[::1]:80", "127.0.0.1:80", "unix:/a"]);
        assert_eq!(places(&["twice:80"]), ["127.0.0.1:80"]);
        assert_eq!(places(&["twice:0", "twice:0"]).len(), 2, "two ports");
        assert_eq!(of(&["nowhere:80"]), Err("--listen nowhere:80: nowhere: not found".into()));
        assert_eq!(of(&["nothing:80"]), Err("--listen nothing:80: nothing has no address".into()));
    }

    #[test]
    fn a_place_that_is_requested_twice_is_refused() {
        for (texts, named) in [
            (["127.0.0.1:80", "127.0.0.1:80"], "127.0.0.1:80"),
            (["localhost:80", "127.0.0.1:80"], "localhost:80"),
            (["127.0.0.1:80", "localhost:80"], "by --listen 127.0.0.1:80"),
            (["unix:/a", "unix:/a"], "unix:/a"),
            (["0.0.0.0:80", "127.0.0.1:80"], "covered by --listen 0.0.0.0:80"),
            (["[::1]:80", "[::]:80"], "covered by --listen [::]:80"),
            (["*:80", "127.0.0.1:80"], "covered by --listen *:80"),
            (["*:80", "0.0.0.0:80"], "covered by --listen *:80"),
            (["*:80", ":80"], "by --listen *:80"),
        ] {
            let refusal = of(&texts).unwrap_err();
            assert!(refusal.contains(named), "{texts:?}: {refusal}");
        }
    }

    #[test]
    fn ipv4_on_the_same_port_leaves_ipv6_to_the_wildcard() {
        for texts in [["[::]:80", "0.0.0.0:80"], ["[::]:80", "127.0.0.1:80"]] {
            assert_eq!(of(&texts).unwrap(), [("[::]:80".into(), true), (texts[1].into(), false)]);
        }
        for texts in [&["[::]:80"][..], &["[::]:80", "0.0.0.0:81"], &["*:80", "unix:/a"]] {
            assert!(!of(texts).unwrap()[0].1, "{texts:?}");
        }
    }

    #[test]
    fn the_number_of_places_is_bounded() {
        let many: Vec<String> = (0..65).map(|port| format!("127.0.0.1:{}", 1_000 + port)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(of(&many).unwrap_err().contains("at most 64"));
        assert_eq!(of(&many[..64]).unwrap().len(), 64);
    }
}
