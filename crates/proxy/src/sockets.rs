//! The sockets of listeners: of TCP one for each worker at the same address, of HTTP/3 one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;
use tutti_ports::routing::Listener;

use crate::control::Control;
use crate::engine::Shared;
use crate::error::ApplyError;
use crate::worker::Command;

impl Shared {
    /// The sockets of a new listener.
    pub(crate) async fn sockets(
        &self,
        key: u64,
        listener: &Listener,
        (probe, http3): (bool, bool),
    ) -> Result<SocketAddr, ApplyError> {
        // With port 0 the system finds a port that is free for TCP, but may not be for UDP.
        let mut tries = if listener.bind.port() == 0 { 8 } else { 1 };
        loop {
            let bound = self.bind(key, listener.bind, probe).await;
            let address = bound.map_err(|source| ApplyError::Bind {
                listener: listener.name.clone(),
                address: listener.bind,
                source,
            })?;
            if !http3 {
                return Ok(address);
            }
            tries -= 1;
            match self.bind_http3(key, address, &listener.name).await {
                Ok(()) => return Ok(address),
                Err(_) if tries > 0 => self.tell(|| Command::Unbind { key }).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Those of a listener that another process has given.
    pub(crate) async fn settle_at(
        &self,
        control: &mut Control,
        key: u64,
        listener: &Listener,
        sockets: Vec<OwnedFd>,
        http3: bool,
    ) -> Result<SocketAddr, ApplyError> {
        if http3 {
            control.http3_missing.push(key);
        }
        let (name, address) = (listener.name.clone(), listener.bind);
        let adopted = self.adopt(key, sockets).await;
        adopted.map_err(|source| ApplyError::Bind { listener: name, address, source })
    }

    /// Makes one socket for each worker at one address.
    pub(crate) async fn bind(
        &self,
        key: u64,
        address: SocketAddr,
        probe: bool,
    ) -> std::io::Result<SocketAddr> {
        let gone = || std::io::Error::other("a worker is gone");
        let mut address = address;
        for (index, link) in self.links.iter().enumerate() {
            if index == 0 && probe && address.port() != 0 {
                // Sockets that share an address would also share it with another process of the same user.
                let (done, answer) = oneshot::channel();
                link.send(Command::Probe { address, done }).await.map_err(|_| gone())?;
                answer.await.map_err(|_| gone())??;
            }
            let (done, answer) = oneshot::channel();
            link.send(Command::Bind { key, address, done }).await.map_err(|_| gone())?;
            address = answer.await.map_err(|_| gone())??;
        }
        Ok(address)
    }

    /// Makes the socket for HTTP/3 beside a listener: one, at the first worker. Packets of a connection may come from several
    /// addresses, and the system knows of nothing else by which to share them among sockets.
    pub(crate) async fn bind_http3(
        &self,
        key: u64,
        address: SocketAddr,
        listener: &str,
    ) -> Result<(), ApplyError> {
        let failed = |source| ApplyError::BindHttp3 { listener: listener.to_owned(), address, source };
        let gone = || failed(std::io::Error::other("a worker is gone"));
        let link = self.links.first().ok_or_else(gone)?;
        let (done, answer) = oneshot::channel();
        link.send(Command::BindHttp3 { key, address, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(failed)
    }

    /// Tells every worker.
    pub(crate) async fn tell(&self, command: impl Fn() -> Command) {
        for link in &self.links {
            let _ = link.send(command()).await;
        }
    }
}
