//! What is stored, over the store in memory.

use super::*;
use tutti_testkit::state::MemoryStore;

fn acme(directory: &str) -> Acme {
    Acme {
        directory: directory.to_owned(),
        email: None,
        challenges: Vec::new(),
        certificates: Vec::new(),
        on_demand: None,
        external_account: None,
        dns_hook: None,
        trusted_root: None,
    }
}

struct Lab {
    folder: tempfile::TempDir,
    store: Arc<MemoryStore>,
}

impl Lab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: Arc::new(MemoryStore::new()) }
    }

    fn vault(&self, directory: &str) -> Vault {
        let seal = Arc::new(Seal::open(self.folder.path()).unwrap());
        Vault::new(Arc::clone(&self.store) as Arc<dyn Store>, seal, &acme(directory))
    }

    async fn everything(&self) -> String {
        let page = self.store.range(Range::default()).await.unwrap();
        page.entries.iter().map(|entry| format!("{} {:?}\n", entry.key, entry.value)).collect()
    }
}

#[tokio::test]
async fn nothing_secret_is_stored_in_the_open_and_everything_is_found_again() {
    let lab = Lab::new();
    let vault = lab.vault("https://a.test/dir");
    vault.put_account(&"account-secret").await.unwrap();
    let names = vec!["b.test".to_owned(), "a.test".to_owned()];
    let id = Vault::id(&names);
    let key = vault.seal(&id, b"key-secret").unwrap();
    let record = Record { names, chain: String::new(), key, jitter: 0.5, window: None, on_demand: false };
    vault.put_record(&id, &record).await.unwrap();
    assert!(!lab.everything().await.contains("secret"), "{}", lab.everything().await);

    let again = lab.vault("https://a.test/dir");
    assert_eq!(again.account::<String>().await.unwrap().unwrap(), "account-secret");
    let records = again.records().await.unwrap();
    assert_eq!(records, [(id.clone(), record.clone())]);
    assert_eq!(again.open(&id, &records[0].1).unwrap(), b"key-secret");
    // Sealed for one certificate, it does not open as another one's.
    assert!(again.open("other", &record).is_err());

    let other = lab.vault("https://b.test/dir");
    assert_eq!(other.records().await.unwrap(), []);
    assert_eq!(other.account::<String>().await.unwrap(), None);
}

#[tokio::test]
async fn a_certificate_has_one_id_whatever_the_order_of_its_names() {
    let id = |names: &[&str]| Vault::id(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(id(&["a", "b"]), id(&["b", "a"]));
    assert_ne!(id(&["a", "b"]), id(&["a"]));
}

#[tokio::test]
async fn a_success_ends_the_failures() {
    let lab = Lab::new();
    let vault = lab.vault("https://a.test/dir");
    vault.put_setbacks("x", Setbacks { count: 3, until: 9 }).await.unwrap();
    assert_eq!(vault.setbacks("x").await.unwrap().unwrap().count, 3);
    let record = Record {
        names: Vec::new(),
        chain: String::new(),
        key: String::new(),
        jitter: 0.0,
        window: None,
        on_demand: false,
    };
    vault.put_record("x", &record).await.unwrap();
    assert_eq!(vault.setbacks("x").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn only_one_process_orders_a_certificate_at_a_time_and_a_dead_one_is_not_waited_for() {
    let lab = Lab::new();
    let (one, other) = (lab.vault("https://a.test/dir"), lab.vault("https://a.test/dir"));
    let turn = one.take_turn("x").await.unwrap();
    assert!(matches!(other.take_turn("x").await, Err(TrustError::Elsewhere)));
    assert!(other.take_turn("y").await.is_ok());
    // It is kept for as long as the work takes, and given back after it.
    let work = async {
        tokio::time::sleep(LEASE * 5).await;
        assert!(matches!(other.take_turn("x").await, Err(TrustError::Elsewhere)));
    };
    one.while_mine(turn, work).await;
    let turn = other.take_turn("x").await.unwrap();
    // This process dies: it keeps nothing alive.
    let Turn { .. } = turn;
    tokio::time::sleep(LEASE * 2).await;
    assert!(one.take_turn("x").await.is_ok());
}
