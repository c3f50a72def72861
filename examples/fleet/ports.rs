//! One address in front of several: what a load balancer does, in its simplest form.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};

use tokio::net::{TcpListener, TcpStream};

use crate::common::Failure;

/// So many ports that nobody has.
pub(crate) fn free(count: usize) -> Result<Vec<u16>, Failure> {
    // All are held before the first is let go, so that none comes twice.
    let held = (0..count).map(|_| Listener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?)
}

/// Lays each connection to the next port of the list, and where nobody listens there, to the one behind it.
pub(crate) async fn spread(list: Vec<u16>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let front = listener.local_addr()?;
    tokio::spawn(async move {
        for turn in 0_usize.. {
            let Ok((mut near, _)) = listener.accept().await else { continue };
            let ports = list.clone();
            tokio::spawn(async move {
                for offset in 0..ports.len() {
                    let port = ports[(turn + offset) % ports.len()];
                    if let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                        // Either side may end it at any time; the provider sends again what was not answered.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        return;
                    }
                }
            });
        }
    });
    Ok(front)
}
