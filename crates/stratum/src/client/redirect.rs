//! Where a pool may send us.

use std::net::IpAddr;

/// Whether a pool at `from` may send its miners to `to`: to itself, and to hosts of its own
/// domain. Anything else could be somebody on the path who wants the work for himself.
///
/// The domain of a host is what follows its first label. It has to have two labels, three where
/// the last two look like a registry's (`co.uk`): a short one before a country's.
pub(crate) fn is_allowed(from: &str, to: &str) -> bool {
    let from = from.trim_end_matches('.').to_ascii_lowercase();
    let to = to.trim_end_matches('.').to_ascii_lowercase();
    if from == to {
        return true;
    }
    let is_address = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if is_address(&from) || is_address(&to) {
        return false;
    }
    let below = |domain: &str, host: &str| {
        host.strip_suffix(domain)
            .is_some_and(|front| front.ends_with('.'))
    };
    let Some((_, parent)) = from.split_once('.') else {
        return false;
    };
    let domain = if is_registrable(parent) {
        parent
    } else {
        &from
    };
    is_registrable(domain) && (to == domain || below(domain, &to))
}

fn is_registrable(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    match labels[..] {
        [] | [_] => false,
        [second, first] => !(first.len() == 2 && second.len() <= 3),
        _ => !labels.contains(&""),
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn only_within_the_domain() {
        for (from, to, allowed) in [
            ("eu.pool.example", "us.pool.example", true),
            ("eu.pool.example", "a.us.pool.example", true),
            ("eu.pool.example", "POOL.EXAMPLE.", true),
            ("pool.example", "eu.pool.example", true),
            ("pool.example", "pool.example", true),
            ("pool.example", "evil.example", false),
            ("eu.pool.example", "eu.evil.example", false),
            ("eu.pool.example", "notpool.example", false),
            ("eu.pool.example", "pool.example.evil", false),
            ("pool.co.uk", "evil.co.uk", false),
            ("eu.pool.co.uk", "us.pool.co.uk", true),
            ("pool.co.uk", "eu.pool.co.uk", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "2.0.2.1", false),
            ("[2001:db8::1]", "[2001:db8::2]", false),
            ("localhost", "localhost", true),
            ("localhost", "evil.localhost", false),
            ("localhost", "127.0.0.1", false),
            ("pool.example", "", false),
            ("eu.pool.example", "..", false),
        ] {
            assert_eq!(is_allowed(from, to), allowed, "{from} to {to}");
        }
    }
}
