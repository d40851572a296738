//! The secret that certifies a pool of Stratum V2.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zcn_miner::machine::random;
use zcn_stratum::hex;
use zcn_stratum::v2::AuthoritySecret;

use crate::failure::Failure;

/// Reads the secret in `file`, or makes one: there, where there is no such file, and for this run
/// without one.
///
/// # Errors
/// The file cannot be read or made, or has no secret in it.
pub(super) fn secret(file: Option<&Path>) -> Result<AuthoritySecret, Failure> {
    let Some(path) = file else {
        return Ok(fresh()?.1);
    };
    match fs::read_to_string(path) {
        Ok(text) => parse(text.trim()).ok_or_else(|| {
            Failure::new(format!("{} holds no secret of a pool", path.display()))
                .remedy("64 hexadecimal digits; or the name of a file that is not there yet")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (bytes, secret) = fresh()?;
            write(path, &bytes).map_err(|error| {
                Failure::new(format!("cannot make {}", path.display()))
                    .because(error)
                    .remedy("--v2-key FILE in a folder that exists and that you may write to")
            })?;
            Ok(secret)
        }
        Err(error) => Err(Failure::new(format!("cannot read {}", path.display()))
            .because(error)
            .remedy("--v2-key FILE that you may read, or that is not there yet")),
    }
}

fn parse(digits: &str) -> Option<AuthoritySecret> {
    let bytes = hex::decode_array(digits.as_bytes()).ok()?;
    AuthoritySecret::new(&bytes).ok()
}

fn fresh() -> Result<([u8; 32], AuthoritySecret), Failure> {
    let bytes = random();
    let bytes = bytes.map_err(|error| Failure::new("cannot draw random bytes").because(error))?;
    let secret = AuthoritySecret::new(&bytes)
        .map_err(|error| Failure::new("cannot make a key").because(error))?;
    Ok((bytes, secret))
}

/// A file that only its owner reads, and that was not there.
fn write(path: &Path, bytes: &[u8; 32]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", hex::encode(bytes))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept_from_others() {
        let path = std::env::temp_dir().join(format!("zcn-authority-{}", std::process::id()));
        let made = secret(Some(&path)).expect("made").public();
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(secret(Some(&path)).expect("read").public(), made);
        for wrong in ["", "00", &"0".repeat(64), &"x".repeat(64)] {
            fs::write(&path, wrong).expect("written");
            let error = secret(Some(&path)).expect_err(wrong).to_string();
            assert!(error.contains("zcn-authority"), "{error}");
        }
        fs::remove_file(&path).expect("removed");
        assert_ne!(secret(None).expect("made").public(), made);
        let nowhere = secret(Some(Path::new("/no/such/folder/key"))).expect_err("no folder");
        assert!(nowhere.to_string().contains("/no/such/folder/key"));
    }
}
