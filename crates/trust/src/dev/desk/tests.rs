//! The desk in a folder of the test's own.

use super::*;
use tutti_core::time::SystemClock;

fn policy(hosts: &[&str]) -> Policy {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Policy { development: true, hosts, acme: None }
}

struct Late(Duration);

impl Clock for Late {
    fn monotonic(&self) -> Duration {
        self.0
    }

    fn wall(&self) -> std::time::SystemTime {
        std::time::SystemTime::now() + self.0
    }
}

fn desk(folder: &std::path::Path, clock: Arc<dyn Clock>) -> Desk {
    Desk::new(folder.join("authority"), clock, Arc::default())
}

#[test]
fn this_machine_its_local_names_and_the_hosts_of_routes_get_one_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(folder.path(), Arc::new(SystemClock::new()));
    desk.apply(&policy(&["shop.test", "*.wild.test"])).unwrap();
    for name in [None, Some("localhost"), Some("127.0.0.1")] {
        assert_eq!(desk.find(name).unwrap().names, HERE, "{name:?}");
    }
    for name in ["api.localhost", "a.b.localhost", "shop.test", "x.wild.test", "x.y.wild.test"] {
        assert!(desk.find(Some(name)).is_none(), "{name}");
        assert_eq!(desk.make(name).unwrap().names, [name]);
        assert_eq!(desk.find(Some(name)).unwrap().names, [name]);
    }
    for name in ["bank.com", "other.test", "wild.test", "xlocalhost"] {
        assert!(desk.make(name).is_none(), "{name}");
    }
    assert_eq!(desk.standings().len(), 6);
}

#[test]
fn routes_that_go_take_their_certificates_with_them_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(folder.path(), Arc::new(SystemClock::new()));
    desk.apply(&policy(&["a.test", "b.test"])).unwrap();
    let (here, a) = (desk.find(None).unwrap(), desk.make("a.test").unwrap());
    desk.make("b.test").unwrap();
    desk.apply(&policy(&["a.test"])).unwrap();
    assert_eq!(desk.find(None).unwrap().serial, here.serial);
    assert_eq!(desk.find(Some("a.test")).unwrap().serial, a.serial);
    assert!(desk.find(Some("b.test")).is_none());
    desk.apply(&Policy::default()).unwrap();
    assert!(desk.find(None).is_none() && desk.make("a.test").is_none());
}

#[test]
fn strangers_can_fill_it_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let desk = desk(folder.path(), Arc::new(SystemClock::new()));
    desk.apply(&policy(&[])).unwrap();
    let made = (0..limits::DEVELOPMENT_CERTIFICATES + 10)
        .filter(|n| desk.make(&format!("n{n}.localhost")).is_some());
    assert_eq!(made.count(), limits::DEVELOPMENT_CERTIFICATES);
}

#[test]
fn they_are_renewed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let now = desk(folder.path(), Arc::new(SystemClock::new()));
    now.apply(&policy(&[])).unwrap();
    now.make("a.localhost").unwrap();
    let before = now.find(None).unwrap().serial;
    now.renew();
    assert_eq!(now.find(None).unwrap().serial, before);
    assert!(now.find(Some("a.localhost")).is_some());

    let later = desk(folder.path(), Arc::new(Late(authority::LEAF_LIFE * 3 / 4)));
    later.open.store(now.open.load_full());
    later.renew();
    assert_ne!(later.find(None).unwrap().serial, before);
    assert!(later.find(Some("a.localhost")).is_none(), "the next client gets a new one");
}
