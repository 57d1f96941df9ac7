//! A new version that fails half-way through an upgrade, for tests. Its file's name says where: `half-hello` when it has been given the edge,
//! `half-ready` when it has been given the services, `half-format` keeps its state in another format, `half-hangs` says nothing.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use serde_json::json;
use tutti_net::Link;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let number = args.nth(1).and_then(|number| number.to_str()?.parse().ok()).unwrap_or(-1);
    let socket = tutti_net::link::inherited(number);
    let socket = socket.ok_or_else(|| anyhow::anyhow!("nothing was handed down"))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(talk(&name, socket))
}

async fn talk(name: &str, socket: OwnedFd) -> anyhow::Result<()> {
    let link = Link::of(socket)?;
    link.receive().await?;
    if name == "half-hangs" {
        link.gone().await;
    }
    let state = if name == "half-format" { 999 } else { tutti_store::sqlite::FORMAT };
    let hello = json!({ "form": 2, "version": "9.9.9", "layout": tutti_store::dir::FORMAT, "state": state });
    link.send(&serde_json::to_vec(&json!({ "Hello": hello }))?, &[]).await?;
    // What is given is held while it dies, as kill -9 has it.
    let _edge = link.receive().await?;
    if name == "half-ready" {
        link.send(b"\"Ready\"", &[]).await?;
        let _services = link.receive().await?;
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    }
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(())
}
