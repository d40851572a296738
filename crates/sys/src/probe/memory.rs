//! Pages: how large, how many huge ones, and how much may be locked.

use super::proc;
use super::process::ProcessStatus;
use crate::check::Check;
use crate::limits::{self, Limit};

const CAP_IPC_LOCK: u8 = 14;

/// What a default runtime registers: two pools of one MiB and their rings.
const WANTED_LOCKED_BYTES: u64 = 4 << 20;

/// The huge pages that the system keeps in store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// Pages in the store.
    pub total: u64,
    /// Pages of them that nobody uses.
    pub free: u64,
    /// Bytes of one page.
    pub page_bytes: u64,
}

impl HugePages {
    /// Reads the store of the default huge page size; `None` without `/proc`
    /// or on a kernel without huge pages.
    pub fn current() -> Option<Self> {
        Self::parse(&proc::text("/proc/meminfo")?)
    }

    /// Reads the store out of the text of `/proc/meminfo`.
    pub fn parse(meminfo: &str) -> Option<Self> {
        let number = |key| -> Option<u64> {
            let value = proc::field(meminfo, key)?;
            value.trim_end_matches("kB").trim().parse().ok()
        };
        Some(Self {
            total: number("HugePages_Total")?,
            free: number("HugePages_Free")?,
            page_bytes: number("Hugepagesize")? << 10,
        })
    }
}

/// The chosen word of a setting such as `always [madvise] never`.
pub fn chosen(setting: &str) -> Option<&str> {
    let (_, rest) = setting.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word)
}

/// One line each for page sizes, huge pages and the memlock limit.
pub fn checks() -> Vec<Check> {
    let privileged = ProcessStatus::current().is_some_and(|status| status.has(CAP_IPC_LOCK));
    vec![
        huge_pages(HugePages::current()),
        transparent(proc::text("/sys/kernel/mm/transparent_hugepage/enabled").as_deref()),
        memlock(limits::locked_memory(), privileged),
    ]
}

fn huge_pages(pages: Option<HugePages>) -> Check {
    let base = rustix::param::page_size();
    let Some(pages) = pages else {
        return Check::unknown(
            "memory.huge_pages",
            format!("page {base} B; no huge pages in this kernel"),
        );
    };
    let value = format!(
        "page {base} B; {} free of {} huge pages of {} KiB",
        pages.free,
        pages.total,
        pages.page_bytes >> 10
    );
    if pages.free == 0 {
        Check::warn(
            "memory.huge_pages",
            value,
            "pools use normal pages. To give them huge ones: sysctl -w vm.nr_hugepages=16",
        )
    } else {
        Check::ok("memory.huge_pages", value)
    }
}

fn transparent(setting: Option<&str>) -> Check {
    match setting.and_then(chosen) {
        Some(mode) => Check::ok("memory.transparent_huge_pages", mode),
        None => Check::unknown("memory.transparent_huge_pages", "not stated"),
    }
}

fn memlock(limit: Limit, privileged: bool) -> Check {
    let value = format!("{limit} bytes");
    if privileged {
        return Check::ok("memory.memlock", format!("{value}; CAP_IPC_LOCK lifts it"));
    }
    if limit.allows(WANTED_LOCKED_BYTES) {
        return Check::ok("memory.memlock", value);
    }
    let how = if limit.could_allow(WANTED_LOCKED_BYTES) {
        "raise it with ulimit -l"
    } else {
        "raise it in limits.conf (memlock), with LimitMEMLOCK= in the systemd unit, or with \
         docker run --ulimit memlock=-1"
    };
    Check::warn(
        "memory.memlock",
        value,
        format!("registered buffers need {WANTED_LOCKED_BYTES} bytes or more: {how}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    const MEMINFO: &str = "MemTotal:  8147748 kB\nHugePages_Total:      16\n\
        HugePages_Free:        4\nHugePages_Rsvd:        0\nHugepagesize:       2048 kB\n";

    #[test]
    fn huge_pages_are_read_with_their_size() {
        let pages = HugePages::parse(MEMINFO).expect("huge pages");
        assert_eq!((pages.total, pages.free), (16, 4));
        assert_eq!(pages.page_bytes, 2 << 20);
        assert_eq!(huge_pages(Some(pages)).status, Status::Ok);
        assert_eq!(HugePages::parse("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn an_empty_store_says_how_to_fill_it() {
        let check = huge_pages(Some(HugePages::default()));
        assert_eq!(check.status, Status::Warn);
        assert!(check.remedy.expect("a remedy").contains("vm.nr_hugepages"));
    }

    #[test]
    fn the_word_in_brackets_is_chosen() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always madvise"), None);
    }

    #[test]
    fn memlock_names_the_way_that_is_open() {
        let limit = |soft, hard| Limit { soft, hard };
        let small = Some(65_536);
        assert_eq!(memlock(limit(None, None), false).status, Status::Ok);
        assert_eq!(memlock(limit(small, small), true).status, Status::Ok);
        let raisable = memlock(limit(small, None), false).remedy.expect("a remedy");
        assert!(raisable.contains("ulimit -l"), "{raisable}");
        let fixed = memlock(limit(small, small), false)
            .remedy
            .expect("a remedy");
        assert!(fixed.contains("limits.conf"), "{fixed}");
    }
}
