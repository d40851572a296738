use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("zcn-ledger-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("shares")
    }

    fn open(&self) -> (Ledger, Vec<OpenShare>) {
        Ledger::open(self.ledger(), Durability::Kernel).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn texts(shares: &[OpenShare]) -> Vec<&str> {
    shares
        .iter()
        .map(|share| std::str::from_utf8(&share.bytes).unwrap())
        .collect()
}

#[test]
fn what_is_not_settled_comes_back_in_order() {
    let folder = Folder::new();
    {
        let (mut ledger, open) = folder.open();
        assert_eq!(open, []);
        for text in ["one", "two", "three"] {
            ledger.found(text.as_bytes()).unwrap();
        }
        ledger.settle(1).unwrap();
        ledger.settle(99).unwrap();
    }
    let (mut ledger, open) = folder.open();
    assert_eq!(texts(&open), ["one", "three"]);
    assert_eq!(ledger.found(b"four").unwrap(), 100, "numbers go on");
    for share in &open {
        ledger.settle(share.number).unwrap();
    }
    ledger.settle(100).unwrap();
    drop(ledger);
    let (mut ledger, open) = folder.open();
    assert_eq!(open, []);
    assert_eq!(ledger.found(b"five").unwrap(), 101);
}

#[test]
fn a_file_cut_anywhere_gives_all_whole_records() {
    let folder = Folder::new();
    {
        let (mut ledger, _) = folder.open();
        ledger.found(b"one").unwrap();
        ledger.found(b"two").unwrap();
    }
    let whole = fs::read(folder.ledger()).unwrap();
    let record = HEAD + FIXED + 3;
    for length in 0..=whole.len() {
        fs::write(folder.ledger(), &whole[..length]).unwrap();
        let (mut ledger, open) = folder.open();
        assert_eq!(open.len(), length / record, "{length}");
        // What is written after the cut is read again.
        ledger.found(b"new").unwrap();
        drop(ledger);
        let (_, open) = folder.open();
        assert_eq!(texts(&open).last(), Some(&"new"));
    }
}

#[test]
fn a_changed_byte_ends_the_reading_and_nothing_panics() {
    let folder = Folder::new();
    {
        let (mut ledger, _) = folder.open();
        ledger.found(b"one").unwrap();
        ledger.found(b"two").unwrap();
    }
    let whole = fs::read(folder.ledger()).unwrap();
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        let (open, _) = read(&bytes);
        assert!(open.len() < 2, "{place}: {open:?}");
    }
    let (open, next) = read(&[0xff; 100]);
    assert_eq!((open.len(), next), (0, 0));
}

#[test]
fn a_ledger_written_anew_has_the_open_shares_and_goes_on() {
    let folder = Folder::new();
    {
        let (mut ledger, _) = folder.open();
        for number in 0..100 {
            assert_eq!(ledger.found(b"a share").unwrap(), number);
            ledger.settle(number).unwrap();
        }
        let number = ledger.found(b"one").unwrap();
        let bytes = b"one".to_vec();
        let long = ledger.length();
        ledger.compact(&[OpenShare { number, bytes }]).unwrap();
        assert!(ledger.length() < long / 10);
        assert_eq!(
            ledger.length(),
            fs::metadata(folder.ledger()).unwrap().len()
        );
        assert_eq!(ledger.found(b"two").unwrap(), number + 1);
        // It is still this program's.
        let error = Ledger::open(folder.ledger(), Durability::Kernel).unwrap_err();
        assert!(matches!(error, LedgerError::InUse(_)), "{error}");
    }
    let (_, open) = folder.open();
    assert_eq!(texts(&open), ["one", "two"]);
}

#[test]
fn a_second_program_is_refused() {
    let folder = Folder::new();
    let (ledger, _) = folder.open();
    let error = Ledger::open(folder.ledger(), Durability::Kernel).unwrap_err();
    assert!(matches!(error, LedgerError::InUse(_)), "{error}");
    drop(ledger);
    folder.open();
}

/// The lock on it is free once its owner has replaced it.
#[test]
fn a_file_that_was_replaced_since_it_was_opened_is_told_apart() {
    let folder = Folder::new();
    let (mut ledger, _) = folder.open();
    let early = open(&folder.ledger(), false).unwrap();
    assert!(is_at(&early, &folder.ledger()).unwrap());
    ledger.compact(&[]).unwrap();
    lock(&early, &folder.ledger()).unwrap();
    assert!(!is_at(&early, &folder.ledger()).unwrap());
}

#[test]
fn a_share_that_is_too_long_is_refused_and_harms_nothing() {
    let folder = Folder::new();
    {
        let (mut ledger, _) = Ledger::open(folder.ledger(), Durability::Disk).unwrap();
        let error = ledger.found(&[0; MAX_SHARE + 1]).unwrap_err();
        assert!(matches!(error, LedgerError::TooLong(4097)), "{error}");
        ledger.found(&[b'x'; MAX_SHARE]).unwrap();
    }
    let (_, open) = folder.open();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].bytes.len(), MAX_SHARE);
}

/// Found by trying: the file of settings, named as the ledger by mistake, was cut to nothing.
#[test]
fn a_file_that_is_no_ledger_is_left_as_it_is() {
    let folder = Folder::new();
    let image = [&[0; 600][..], b"\x55\xaa"].concat();
    for foreign in [&b"threads = 2\n"[..], b"abc", &[0xff; 5000], &image] {
        fs::write(folder.ledger(), foreign).unwrap();
        let error = Ledger::open(folder.ledger(), Durability::Kernel).unwrap_err();
        assert!(matches!(error, LedgerError::NoLedger(_)), "{error}");
        assert_eq!(fs::read(folder.ledger()).unwrap(), foreign);
    }
    // What a loss of power may leave is none of those.
    for lost in [&[][..], &[0; 5000], &[20], &[20, 0, 0, 0, 1]] {
        fs::write(folder.ledger(), lost).unwrap();
        assert_eq!(folder.open().1, []);
    }
}
