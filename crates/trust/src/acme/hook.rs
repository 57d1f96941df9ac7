//! The program that writes DNS records for DNS-01 (RFC 8555 section 8.4).
//!
//! It is run as `COMMAND present NAME VALUE` before the authority looks, and as `COMMAND cleanup NAME VALUE` afterwards, whether that
//! went well or not. NAME is the whole record name with its last dot (`_acme-challenge.shop.example.`), VALUE what its TXT record is
//! to hold. Several records of one name may be needed at a time. It has to end with status 0; what it writes to standard
//! error is told when it does not. It gets our environment, and `TUTTI_ACME_DOMAIN`: the name that is proved.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tutti_ports::certificates::DnsHook;

use crate::error::TrustError;

/// How much of what it says is kept.
const SAID_BYTES: u64 = 4 << 10;

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What the hook is to do.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) verb: &'static str,
    pub(crate) domain: String,
    pub(crate) value: String,
}

/// Runs the hook; it ends, or is killed with everything that it started, within its time.
pub(crate) async fn run(hook: &DnsHook, errand: Errand) -> Result<(), TrustError> {
    let (hook, verb) = (hook.clone(), errand.verb);
    let command = hook.command.first().cloned().unwrap_or_default();
    let failed = move |why: String| TrustError::Hook { command, verb, why };
    match tokio::task::spawn_blocking(move || run_blocking(&hook, &errand)).await {
        Ok(done) => done.map_err(failed),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn run_blocking(hook: &DnsHook, errand: &Errand) -> Result<(), String> {
    let (program, args) = hook.command.split_first().ok_or("it has no program")?;
    let record = format!("_acme-challenge.{}.", errand.domain);
    let mut command = Command::new(program);
    command.args(args).args([errand.verb, &record, &errand.value]).env("TUTTI_ACME_DOMAIN", &errand.domain);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let Some(stderr) = child.stderr.take() else { return Err("it has no standard error".to_owned()) };
    std::thread::scope(|scope| {
        let said = scope.spawn(move || {
            let mut said = Vec::new();
            let mut stderr = stderr;
            let _ = (&mut stderr).take(SAID_BYTES).read_to_end(&mut said);
            // The rest is read and dropped, so that it does not wait for us.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&said).trim().to_owned()
        });
        let ended = wait(&mut child, hook.timeout);
        let said = said.join().unwrap_or_default();
        match ended {
            Ok(true) => Ok(()),
            Ok(false) if said.is_empty() => Err("it did not end with status 0".to_owned()),
            Ok(false) => Err(said),
            Err(why) => Err(format!("{why} {said}").trim().to_owned()),
        }
    })
}

/// Whether it ended well. What it started does not outlive it: that would hold its standard error, and us.
fn wait(child: &mut Child, timeout: Duration) -> Result<bool, String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
    let begun = Instant::now();
    // It is looked at and not reaped, so that its group is still its own when it is killed.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let over = loop {
        match rustix::process::waitid(WaitId::Pid(pid), look) {
            Ok(Some(_)) => break false,
            Ok(None) if begun.elapsed() < timeout => std::thread::sleep(LOOK),
            Ok(None) => break true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break true,
        }
    };
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    let status = child.wait().map_err(|error| error.to_string())?;
    if over { Err(format!("it did not end within {timeout:?}.")) } else { Ok(status.success()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_line(line: &str, timeout: Duration) -> Result<(), String> {
        let command = ["/bin/sh", "-c", line, "hook"].map(str::to_owned).to_vec();
        let hook = DnsHook { command, timeout, propagation: Duration::ZERO };
        let errand = Errand { verb: "present", domain: "shop.test".to_owned(), value: "v-1".to_owned() };
        run(&hook, errand).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn it_is_told_what_to_do_and_asked_how_it_went() {
        let line =
            "[ \"$*\" = 'present _acme-challenge.shop.test. v-1' ] && [ $TUTTI_ACME_DOMAIN = shop.test ]";
        run_line(line, Duration::from_secs(10)).await.unwrap();
        let why = run_line("echo no zone >&2; exit 1", Duration::from_secs(10)).await.unwrap_err();
        assert!(why.contains("/bin/sh present") && why.contains("no zone"), "{why}");
        let why = run_line("exit 4", Duration::from_secs(10)).await.unwrap_err();
        assert!(why.contains("status 0"), "{why}");
        // More than is kept does not block it.
        run_line("head -c 300000 /dev/zero >&2", Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed_with_all_that_it_started() {
        let begun = Instant::now();
        let why = run_line("sleep 600 & sleep 600", Duration::from_millis(100)).await.unwrap_err();
        assert!(why.contains("within 100ms"), "{why}");
        // What it leaves behind does not hold us up.
        run_line("sleep 600 & exit 0", Duration::from_secs(10)).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
