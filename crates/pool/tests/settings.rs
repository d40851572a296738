//! Good and bad settings of a pool.

use std::collections::HashSet;

use zcn_pool::{BufferPool, HugePages, MAX_BUFFER_SIZE, MAX_COUNT, PageKind, PoolError};

#[test]
fn bad_buffer_sizes_name_the_setting_and_the_remedy() {
    for (size, remedy) in [
        (0, "set buffer_size(4096)"),
        (1, "set buffer_size(4096)"),
        (1500, "set buffer_size(4096)"),
        (4097, "set buffer_size(8192)"),
        (usize::MAX, "set buffer_size(1073741824)"),
        (MAX_BUFFER_SIZE + 4096, "set buffer_size(1073741824)"),
    ] {
        let error = BufferPool::builder().buffer_size(size).build().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, PoolError::BufferSize { got, .. } if got == size));
        assert!(text.contains(&format!("buffer_size {size} ")), "{text}");
        assert!(text.contains(remedy), "{text}");
    }
}

#[test]
fn bad_counts_name_the_setting_and_the_remedy() {
    for (count, remedy) in [
        (0, "set count(1)"),
        (MAX_COUNT + 1, "set count(16777216)"),
        (usize::MAX, "set count(16777216)"),
    ] {
        let error = BufferPool::builder().count(count).build().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("count {count} ")), "{text}");
        assert!(text.contains(remedy), "{text}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri would try to allocate it")]
fn more_memory_than_the_address_space_is_an_error() {
    let error = BufferPool::builder()
        .buffer_size(MAX_BUFFER_SIZE)
        .count(MAX_COUNT)
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, PoolError::Map { .. }), "{error:?}");
    assert!(text.contains("lower count or buffer_size"), "{text}");
}

#[test]
fn buffers_are_page_aligned_distinct_and_zero() {
    for (size, count) in [(4096, 1), (4096, 1000), (65536, 33), (12288, 7)] {
        let pool = BufferPool::builder()
            .buffer_size(size)
            .count(count)
            .build()
            .unwrap();
        let (base, len) = pool.region();
        assert_eq!(len, size * count);
        assert_eq!((pool.buffer_size(), pool.count()), (size, count));
        let places: Vec<_> = pool.buffers().collect();
        assert_eq!(places.len(), count);
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        while let Some(mut buf) = pool.acquire() {
            assert!(buf.as_ptr().addr().is_multiple_of(4096));
            assert_eq!(buf.as_mut_ptr(), places[buf.index() as usize].0.as_ptr());
            let offset = buf.as_ptr().addr() - base.as_ptr().addr();
            assert_eq!(offset, buf.index() as usize * size);
            assert_eq!(buf.capacity(), size);
            assert!(buf.as_mut_capacity().iter().all(|byte| *byte == 0));
            assert!(seen.insert(buf.index()));
            all.push(buf);
        }
        assert_eq!(all.len(), count);
    }
}

#[test]
fn first_acquisitions_get_the_first_buffers() {
    let pool = BufferPool::builder().count(100).build().unwrap();
    let local = pool.local();
    let indices: Vec<_> = (0..10).map(|_| local.acquire().unwrap()).collect();
    assert!(indices.iter().map(|buf| buf.index()).eq(0..10));
}

#[test]
fn huge_pages_are_used_or_the_stats_say_otherwise() {
    let builder = BufferPool::builder().count(1024);
    let never = builder.clone().huge_pages(HugePages::Never).build();
    assert_eq!(never.unwrap().stats().page_kind, PageKind::Normal);
    let tried = builder.clone().huge_pages(HugePages::Try).build().unwrap();
    match builder.huge_pages(HugePages::Require).build() {
        Ok(pool) => assert_eq!(pool.stats().page_kind, PageKind::Huge),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("reserve 2 more with"), "{text}");
            assert!(text.contains("HugePages::Try"), "{text}");
            assert_ne!(tried.stats().page_kind, PageKind::Huge);
        }
    }
    let mut buf = tried.acquire().unwrap();
    buf.as_mut_capacity().fill(1);
}

#[test]
#[cfg_attr(miri, ignore = "Miri knows no system calls")]
fn unknown_numa_node_is_an_error_that_says_where_to_look() {
    for node in [1023, 1024, u32::MAX] {
        let built = BufferPool::builder().numa_node(Some(node)).build();
        let text = built.unwrap_err().to_string();
        assert!(text.contains(&format!("numa_node {node} ")), "{text}");
        assert!(text.contains("/sys/devices/system/node"), "{text}");
    }
}

#[test]
fn first_numa_node_is_known_or_refused_by_name() {
    match BufferPool::builder().numa_node(Some(0)).build() {
        Ok(pool) => assert_eq!(pool.stats().numa_node, Some(0)),
        // A container may forbid the call.
        Err(error) => assert!(matches!(error, PoolError::NumaNode { node: 0, .. })),
    }
}

#[test]
fn prefaulted_pool_works() {
    let pool = BufferPool::builder().count(512).prefault(true).build();
    let mut buf = pool.unwrap().acquire().unwrap();
    assert!(buf.as_mut_capacity().iter().all(|byte| *byte == 0));
}
