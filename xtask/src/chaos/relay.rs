//! What an instance is started behind so that it can misbehave: it passes bytes on, until it is told otherwise.
//!
//! Tutti sees one instance that hangs, is slow, resets connections or dies; the service itself is unchanged. Its health checks go
//! through here, too.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Fault;

/// By how much an instance that is slow is late with each request.
const SLOW: Duration = Duration::from_millis(800);
const TICK: Duration = Duration::from_millis(10);

/// What the instance does at the moment.
#[derive(Default)]
struct Mood {
    fault: AtomicU8,
    requests: AtomicU64,
}

impl Mood {
    fn is(&self, fault: Fault) -> bool {
        self.fault.load(Ordering::Relaxed) == fault as u8
    }

    fn wait_while_hanging(&self) {
        while self.is(Fault::Hang) {
            std::thread::sleep(TICK);
        }
    }

    /// Of an instance that resets connections, every second request finds this.
    fn breaks(&self) -> bool {
        self.is(Fault::Reset) && self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
    }
}

/// Runs a service behind a relay at `PORT`, until one of the two ends. What it does is read from the file `folder/PORT`.
pub fn run(folder: &Path, command: &[OsString]) -> Result<ExitCode> {
    let port: u16 = std::env::var("PORT").context("there is no PORT")?.parse()?;
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let (program, words) = command.split_first().context("there is no command")?;
    let mut child = Command::new(program).args(words).env("PORT", own.to_string()).spawn()?;
    let file = folder.join(port.to_string());
    fs::create_dir_all(folder)?;
    fs::write(&file, "")?;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, own)).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("it ended before it listened: {status}");
        }
        std::thread::sleep(TICK);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mood = Arc::new(Mood::default());
    let own_mood = Arc::clone(&mood);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mood = Arc::clone(&own_mood);
            std::thread::spawn(move || carry(client, own, &mood));
        }
    });
    watch(&mut child, &file, &mood)
}

fn watch(child: &mut Child, file: &Path, mood: &Mood) -> Result<ExitCode> {
    loop {
        std::thread::sleep(TICK);
        if let Some(status) = child.try_wait()? {
            return Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1).into());
        }
        let told = fs::read_to_string(file).unwrap_or_default();
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == told);
        if fault == Some(Fault::Kill) {
            fs::write(file, "")?;
            child.kill()?;
            child.wait()?;
            // As a process that was killed: whatever was under way ends here.
            std::process::exit(137);
        }
        mood.fault.store(fault.map_or(u8::MAX, |fault| fault as u8), Ordering::Relaxed);
    }
}

/// Passes on what a client says, and what it is answered. That a connection breaks is what is wanted here.
fn carry(client: TcpStream, own: u16, mood: &Arc<Mood>) {
    let Ok(service) = TcpStream::connect((Ipv4Addr::LOCALHOST, own)) else { return };
    let broken = Arc::new(AtomicBool::new(false));
    let (Ok(from), Ok(to)) = (service.try_clone(), client.try_clone()) else { return };
    let (answers, its_mood) = (Arc::clone(&broken), Arc::clone(mood));
    let down = std::thread::spawn(move || back(from, to, &answers, &its_mood));
    let _ = forth(&client, &service, &broken, mood);
    let _ = service.shutdown(if broken.load(Ordering::Relaxed) { Shutdown::Both } else { Shutdown::Write });
    let _ = down.join();
    // Closed with bytes in it that nobody has read, a connection is reset.
}

fn forth(
    mut client: &TcpStream,
    mut service: &TcpStream,
    broken: &AtomicBool,
    mood: &Mood,
) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while client.peek(&mut buffer)? > 0 {
        if mood.breaks() {
            broken.store(true, Ordering::Relaxed);
            break;
        }
        if mood.is(Fault::Slow) {
            std::thread::sleep(SLOW);
        }
        mood.wait_while_hanging();
        let read = client.read(&mut buffer)?;
        service.write_all(buffer.get(..read).unwrap_or_default())?;
    }
    Ok(())
}

fn back(mut service: TcpStream, mut client: TcpStream, broken: &AtomicBool, mood: &Mood) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = service.read(&mut buffer) {
        mood.wait_while_hanging();
        if read == 0 || client.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
            break;
        }
    }
    if !broken.load(Ordering::Relaxed) {
        let _ = client.shutdown(Shutdown::Both);
    }
}
