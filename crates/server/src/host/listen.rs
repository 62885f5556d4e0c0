//! Listening sockets: one per core on the same address, so that the kernel spreads connections and
//! cores share nothing.
//!
//! Sockets that share an address also share it with a second copy of this program, which would
//! silently take half of the connections: so the address is claimed alone first.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted, as many as the system allows: whom it drops there believes
/// to be connected, and waits for seconds.
const BACKLOG: i32 = 65_535;

/// Bytes of an answer that wait in the kernel, beyond those that are on their way. More is written once fewer
/// wait, so a client that reads is not kept waiting.
const UNSENT_MAX: u32 = 128 << 10;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", hint(.error))]
pub(crate) struct ListenError {
    /// The address.
    pub(crate) address: SocketAddr,
    /// What the system said.
    pub(crate) error: io::Error,
}

/// `count` sockets that share an address. Port 0 becomes a free one, the same for all.
///
/// # Errors
/// [`ListenError`] when the address is taken, or not this machine's.
pub(super) fn share(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    let failed = |error| ListenError { address, error };
    let claimed = claim(address).map_err(failed)?;
    (0..count).map(|_| socket(claimed).map_err(failed)).collect()
}

/// Binds the address alone, and gives it up: it never listens, so that no client connects to a
/// socket that is about to close.
fn claim(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no internet address"))
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit it: answers are written whole, so nothing is gained by waiting.
    socket.set_tcp_nodelay(true)?;
    // As these are: who reads slowly holds little of the kernel's memory, which all connections share.
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    // A peer that vanished without a word is found out.
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// After a minute of silence a peer is asked whether it is still there; four times in vain is gone.
pub(super) fn keepalive() -> TcpKeepalive {
    let (silence, again) = (Duration::from_secs(60), Duration::from_secs(15));
    TcpKeepalive::new().with_time(silence).with_interval(again).with_retries(4)
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; stop what listens there, or choose another one".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need a privilege, so choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 127.0.0.1 or 0.0.0.0 would be right".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_accepted_is_asked_whether_it_is_still_there_and_holds_little() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = socket(any).expect("free");
        listener.set_nonblocking(false).expect("it may block");
        let address = listener.local_addr().expect("bound");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        let (accepted, _) = listener.accept().expect("it connected");
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.keepalive().expect("asked"));
        assert_eq!(accepted.tcp_keepalive_time().expect("asked"), Duration::from_secs(60));
        assert_eq!(accepted.tcp_notsent_lowat().expect("asked"), UNSENT_MAX);
    }

    #[test]
    fn cores_share_a_port_and_nobody_else_does() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = share(any, 3).expect("free");
        let address = sockets[0].local_addr().expect("bound");
        assert!(sockets.iter().all(|socket| socket.local_addr().is_ok_and(|at| at == address)));
        let taken = share(address, 1).expect_err("taken").to_string();
        assert!(taken.contains(&address.to_string()) && taken.contains("in use"), "{taken}");
    }
}
