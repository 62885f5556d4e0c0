//! Listening sockets: one per core on the same address, so that the kernel distributes connections
//! and cores share nothing.
//!
//! With a shared address, a second copy of this program could also listen there and would silently
//! get half of the connections. So the address is first bound without sharing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted: as many as the system allows. A client that the kernel
/// drops from this queue believes that it is connected, and waits for seconds.
const BACKLOG: i32 = 65_535;

/// Bytes of an answer that wait in the kernel, besides those in transit. When fewer wait, more are
/// written, so that a client that reads does not wait.
const UNSENT_MAX: u32 = 128 << 10;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", hint(.error))]
pub(crate) struct ListenError {
    /// The address.
    pub(crate) address: SocketAddr,
    /// The system's error.
    pub(crate) error: io::Error,
}

/// `count` sockets that share an address. Port 0 becomes a free one, the same for all.
///
/// # Errors
/// [`ListenError`] if the address is in use, or not this machine's.
pub(super) fn share(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, ListenError> {
    let failed = |error| ListenError { address, error };
    let claimed = claim(address).map_err(failed)?;
    (0..count).map(|_| socket(claimed).map_err(failed)).collect()
}

/// Binds the address without sharing, and releases it. It never listens, so that no client connects
/// to a socket that is about to close.
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
    // Accepted connections inherit this. Answers are written in one piece, so a delay has no
    // benefit.
    socket.set_tcp_nodelay(true)?;
    // Also inherited: a slow reader uses little of the kernel's memory, which all connections
    // share.
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    // Detects a peer that vanished without closing.
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// After a minute without traffic a peer is probed; after four failed probes it is gone.
pub(super) fn keepalive() -> TcpKeepalive {
    let (silence, again) = (Duration::from_secs(60), Duration::from_secs(15));
    TcpKeepalive::new().with_time(silence).with_interval(again).with_retries(4)
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use; stop the program that listens there, or choose another one"
                .to_owned()
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
    fn accepted_connections_have_keepalive_and_a_small_send_buffer() {
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
    fn cores_share_a_port_and_no_other_process_does() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = share(any, 3).expect("free");
        let address = sockets[0].local_addr().expect("bound");
        assert!(sockets.iter().all(|socket| socket.local_addr().is_ok_and(|at| at == address)));
        let taken = share(address, 1).expect_err("taken").to_string();
        assert!(taken.contains(&address.to_string()) && taken.contains("in use"), "{taken}");
    }
}
