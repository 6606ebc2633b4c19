//! Unix sockets to listen on: a file, or a name in the abstract namespace (unix(7)).
//!
//! A file outlives the process that made it. One that nobody listens on any more is replaced; one that somebody listens
//! on, or that is no socket, never is. What was made here is removed when its owner stops, unless the name means
//! another file by then.

use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    ffi::OsStr,
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Bytes of a socket's name: `sun_path` takes 108, and a path ends with a zero.
pub const NAME_BYTES_MAX: usize = 107;

/// Address of a listening unix socket: a path, or a name in the abstract namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// A file.
    Path(PathBuf),
    /// A name in the abstract namespace, which has no file and no permissions.
    Abstract(String),
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

impl UnixAddress {
    /// The address that `text` means: a path, or an abstract name after an `@`.
    ///
    /// # Errors
    /// It is empty, too long, or holds a zero byte.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, address) = match text.strip_prefix('@') {
            Some(name) => (name, Self::Abstract(name.to_owned())),
            None => (text, Self::Path(text.into())),
        };
        match name.len() {
            0 => Err("expected unix:/PATH or unix:@NAME".into()),
            _ if name.contains('\0') => Err("a socket's name cannot hold a zero byte".into()),
            length if length > NAME_BYTES_MAX => {
                Err(format!("a socket's name has at most {NAME_BYTES_MAX} bytes (unix(7)), this one has {length}"))
            }
            _ => Ok(address),
        }
    }

    pub(crate) fn to_kernel(&self) -> io::Result<SockAddr> {
        match self {
            Self::Path(path) => SockAddr::unix(path),
            Self::Abstract(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name.as_bytes()].concat())),
        }
    }
}

/// State of an address before anything listens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    Free,
    /// A socket that nobody listens on: a server left it behind. Its device and inode.
    Stale(u64, u64),
}

impl Claim {
    /// Checks that `address` can be listened on.
    ///
    /// # Errors
    /// Another process listens there, the file is no socket, or its state cannot be read.
    pub fn of(address: &UnixAddress) -> io::Result<Self> {
        let UnixAddress::Path(path) = address else { return Ok(Self::Free) };
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Free),
            Err(error) => return Err(error),
        };
        if !found.file_type().is_socket() {
            let text = "a file is there that is no socket: remove it, or take another name";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        match probe.connect(&address.to_kernel()?) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Self::Stale(found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Free),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let text = "a socket is there that this user may not connect to: whether anything listens is not known";
                Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
            }
            // Established, or its queue is full, or it is of another type: it has an owner.
            _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "something listens there")),
        }
    }
}

/// Time that an address in use may still belong to a server that was killed: the kernel closes what its io_uring had
/// open some milliseconds after the process has ended.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// Interval between two attempts within that time.
const RELEASE_POLL: Duration = Duration::from_millis(20);

/// A unix socket that listens, and the file that is removed when this is dropped.
#[derive(Debug)]
pub struct UnixListening {
    listener: UnixListener,
    file: Option<(PathBuf, u64, u64)>,
}

impl UnixListening {
    /// Listens at `address`. The permissions of a file are `mode` before anybody can connect. An address in use is
    /// tried again for `RELEASE_WAIT`.
    ///
    /// # Errors
    /// As [`Claim::of`]; what bind(2) refused: a directory that is missing or that may not be written to.
    pub fn at(address: &UnixAddress, mode: u32, backlog: i32) -> io::Result<Self> {
        let end = Instant::now() + RELEASE_WAIT;
        loop {
            match Self::at_once(address, mode, backlog) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                    thread::sleep(RELEASE_POLL);
                }
                listening => return listening,
            }
        }
    }

    fn at_once(address: &UnixAddress, mode: u32, backlog: i32) -> io::Result<Self> {
        if let (Claim::Stale(device, inode), UnixAddress::Path(path)) = (Claim::of(address)?, address) {
            // Not one that has come since.
            remove_if(path, device, inode)?;
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address.to_kernel()?)?;
        let mut listening = Self { listener: OwnedFd::from(socket).into(), file: None };
        if let UnixAddress::Path(path) = address {
            let made = fs::symlink_metadata(path)?;
            // Absolute: the file is found again from wherever.
            listening.file = Some((std::path::absolute(path)?, made.dev(), made.ino()));
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        socket2::SockRef::from(&listening.listener).listen(backlog)?;
        Ok(listening)
    }

    /// One more descriptor of the same queue of connections, for one more driver: each connection goes to one of them.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn share(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for UnixListening {
    fn drop(&mut self) {
        if let Some((path, device, inode)) = &self.file {
            // What cannot be removed is found stale by the next server.
            let _ = remove_if(path, *device, *inode);
        }
    }
}

/// Removes the file at `path` if it still is that one.
fn remove_if(path: &Path, device: u64, inode: u64) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if (found.dev(), found.ino()) == (device, inode) => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    /// A name of this test's own in the directory for temporary files, gone at the end.
    struct TempPath(PathBuf);

    impl TempPath {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("reactor-{}-{name}", std::process::id()));
            let _ = fs::remove_file(&path);
            Self(path)
        }

        fn address(&self) -> UnixAddress {
            UnixAddress::Path(self.0.clone())
        }
    }

    impl Drop for TempPath {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn refusal(address: &UnixAddress) -> io::ErrorKind {
        UnixListening::at(address, 0o600, 16).unwrap_err().kind()
    }

    #[test]
    fn names_of_unix_sockets_are_bounded() {
        assert_eq!(UnixAddress::parse("/run/a"), Ok(UnixAddress::Path("/run/a".into())));
        assert_eq!(UnixAddress::parse("@a"), Ok(UnixAddress::Abstract("a".into())));
        for bad in ["", "@", "a\0b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(UnixAddress::parse(bad).is_err(), "{bad:?}");
        }
        let longest =
            std::env::temp_dir().join("x".repeat(NAME_BYTES_MAX - std::env::temp_dir().as_os_str().len() - 1));
        let address = UnixAddress::parse(longest.to_str().unwrap()).unwrap();
        drop(UnixListening::at(&address, 0o600, 16).unwrap());
        drop(
            UnixListening::at(&UnixAddress::parse(&format!("@{}", "y".repeat(NAME_BYTES_MAX))).unwrap(), 0, 16)
                .unwrap(),
        );
    }

    #[test]
    fn a_socket_file_has_its_mode_and_goes_with_its_owner() {
        let place = TempPath::new("mode");
        let listening = UnixListening::at(&place.address(), 0o640, 16).unwrap();
        assert_eq!(fs::metadata(&place.0).unwrap().permissions().mode() & 0o777, 0o640);
        let second = listening.share().unwrap();
        let _peer = UnixStream::connect(&place.0).unwrap();
        second.accept().unwrap();
        drop(listening);
        assert!(!place.0.exists());
    }

    #[test]
    fn a_stale_socket_file_is_taken_over() {
        let place = TempPath::new("stale");
        // The standard library leaves the file behind, as a server that was killed does.
        drop(UnixListener::bind(&place.0).unwrap());
        assert!(matches!(Claim::of(&place.address()), Ok(Claim::Stale(..))));
        let listening = UnixListening::at(&place.address(), 0o600, 16).unwrap();
        UnixStream::connect(&place.0).unwrap();
        drop(listening);
        assert_eq!(Claim::of(&place.address()).unwrap(), Claim::Free);
    }

    #[test]
    fn a_socket_file_that_is_in_use_is_left_alone() {
        let place = TempPath::new("live");
        let owner = UnixListener::bind(&place.0).unwrap();
        assert_eq!(refusal(&place.address()), io::ErrorKind::AddrInUse);
        // Also when its queue is full, where a connect would block.
        let shallow = socket2::SockRef::from(&owner);
        shallow.listen(0).unwrap();
        let _queued: Vec<UnixStream> = (0..2)
            .map_while(|_| {
                let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
                socket.connect(&SockAddr::unix(&place.0).unwrap()).ok().map(|()| OwnedFd::from(socket).into())
            })
            .collect();
        assert_eq!(refusal(&place.address()), io::ErrorKind::AddrInUse);
        drop(owner);
        fs::remove_file(&place.0).unwrap();
        let _datagrams = UnixDatagram::bind(&place.0).unwrap();
        assert_eq!(refusal(&place.address()), io::ErrorKind::AddrInUse);
        assert!(place.0.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let place = TempPath::new("file");
        fs::write(&place.0, "kept").unwrap();
        assert_eq!(refusal(&place.address()), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&place.0).unwrap(), b"kept");
    }

    #[test]
    fn a_successors_socket_file_is_not_removed() {
        let place = TempPath::new("successor");
        let first = UnixListening::at(&place.address(), 0o600, 16).unwrap();
        fs::remove_file(&place.0).unwrap();
        let second = UnixListening::at(&place.address(), 0o600, 16).unwrap();
        drop(first);
        UnixStream::connect(&place.0).unwrap();
        drop(second);
        assert!(!place.0.exists());
    }

    #[test]
    fn a_missing_directory_is_said() {
        let place = TempPath::new("missing");
        assert_eq!(refusal(&UnixAddress::Path(place.0.join("a"))), io::ErrorKind::NotFound);
    }
}
