//! What a block is made of, and the job that comes of it.

use thiserror::Error;
use zcn_stratum::hash::{Hash, sha256d};
use zcn_stratum::header::Header;
use zcn_stratum::inline::JobId;
use zcn_stratum::{Job, Target};

/// Why there is no job in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The coinbase script would be longer than a block may have.
    #[error("a tag and extranonces of {bytes} bytes do not fit into a coinbase script")]
    Script {
        /// Bytes beside the height.
        bytes: usize,
    },
    /// `nbits` is no target.
    #[error("{0:08x} is no target in compact form")]
    Target(u32),
}

/// A block without its coinbase transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Height of the block.
    pub height: u32,
    /// Version of the block.
    pub version: u32,
    /// Hash of the block before, as it stands in the header.
    pub prev_hash: Hash,
    /// Target in compact form.
    pub nbits: u32,
    /// Seconds since 1970.
    pub ntime: u32,
    /// What the coinbase pays out, in satoshi.
    pub value: u64,
    /// The script that it pays to.
    pub payout: Vec<u8>,
    /// What a node wants in the coinbase script (BIP 22, `coinbaseaux`).
    pub flags: Vec<u8>,
    /// The script of the witness commitment, if there is one.
    pub commitment: Option<Vec<u8>>,
    /// The other transactions: hash without witness, and bytes.
    pub transactions: Vec<(Hash, Vec<u8>)>,
}

/// Bytes of a coinbase script that consensus allows.
const MAX_SCRIPT: usize = 100;

impl Template {
    /// A block that follows no chain: for tests and demonstrations. Anybody could spend it.
    pub fn synthetic(height: u32, prev_hash: Hash, nbits: u32, ntime: u32) -> Self {
        Self {
            height,
            version: 0x2000_0000,
            prev_hash,
            nbits,
            ntime,
            value: 5_000_000_000,
            // OP_TRUE.
            payout: vec![0x51],
            flags: Vec::new(),
            commitment: None,
            transactions: Vec::new(),
        }
    }

    /// The job of this template, with room for `extranonces` bytes in its coinbase.
    ///
    /// # Errors
    /// The coinbase script would be too long, or the target is none.
    pub fn job(
        &self,
        id: JobId,
        tag: &[u8],
        extranonces: usize,
        clean: bool,
    ) -> Result<Job, TemplateError> {
        Target::from_compact(self.nbits).map_err(|_| TemplateError::Target(self.nbits))?;
        let mut script = height_push(self.height);
        let tag = [&self.flags, tag].concat();
        let bytes = tag.len() + extranonces;
        // Below 76 a length is its own opcode.
        if script.len() + bytes + 2 > MAX_SCRIPT || tag.len() > 75 || extranonces > 75 {
            return Err(TemplateError::Script { bytes });
        }
        // Flags and tag, then the extranonces, each pushed.
        script.push(tag.len() as u8);
        script.extend_from_slice(&tag);
        script.push(extranonces as u8);

        let mut coinbase_1 = vec![1, 0, 0, 0, 1];
        coinbase_1.extend_from_slice(&[0; 32]);
        coinbase_1.extend_from_slice(&[0xff; 4]);
        coinbase_1.push((script.len() + extranonces) as u8);
        coinbase_1.extend_from_slice(&script);

        let mut coinbase_2 = vec![0xff; 4];
        coinbase_2.push(1 + u8::from(self.commitment.is_some()));
        write_output(&mut coinbase_2, self.value, &self.payout);
        if let Some(commitment) = &self.commitment {
            write_output(&mut coinbase_2, 0, commitment);
        }
        coinbase_2.extend_from_slice(&[0; 4]);
        Ok(Job {
            id,
            prev_hash: self.prev_hash,
            coinbase_1,
            coinbase_2,
            branches: branches(self.transactions.iter().map(|(hash, _)| *hash).collect()),
            version: self.version,
            nbits: self.nbits,
            ntime: self.ntime,
            clean,
        })
    }

    /// The whole block, as a node takes it.
    pub fn block(&self, header: &Header, coinbase: &[u8]) -> Vec<u8> {
        let mut block = header.to_bytes().to_vec();
        write_length(&mut block, self.transactions.len() + 1);
        if self.commitment.is_some() {
            // With a witness: marker and flag behind the version, the reserved value (32 zeros)
            // before the lock time (BIP 141).
            let (front, lock_time) = coinbase.split_at(coinbase.len() - 4);
            block.extend_from_slice(&front[..4]);
            block.extend_from_slice(&[0, 1]);
            block.extend_from_slice(&front[4..]);
            block.extend_from_slice(&[1, 32]);
            block.extend_from_slice(&[0; 32]);
            block.extend_from_slice(lock_time);
        } else {
            block.extend_from_slice(coinbase);
        }
        for (_, bytes) in &self.transactions {
            block.extend_from_slice(bytes);
        }
        block
    }
}

/// The height as a script pushes it (BIP 34): little-endian, shortest, its sign bit clear.
fn height_push(height: u32) -> Vec<u8> {
    if (1..=16).contains(&height) {
        return vec![0x50 + height as u8];
    }
    let mut bytes: Vec<u8> = u64::from(height).to_le_bytes().to_vec();
    while bytes.len() > 1 && bytes[bytes.len() - 1] == 0 && bytes[bytes.len() - 2] < 0x80 {
        bytes.pop();
    }
    if bytes == [0] {
        return vec![0];
    }
    bytes.insert(0, bytes.len() as u8);
    bytes
}

fn write_output(out: &mut Vec<u8>, value: u64, script: &[u8]) {
    out.extend_from_slice(&value.to_le_bytes());
    write_length(out, script.len());
    out.extend_from_slice(script);
}

/// A count in the form that transactions have.
fn write_length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..0xfd => out.push(length as u8),
        0xfd..0x1_0000 => {
            out.push(0xfd);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
        _ => {
            out.push(0xfe);
            out.extend_from_slice(&(length as u32).to_le_bytes());
        }
    }
}

/// The hashes that lead from a coinbase transaction to the root of the tree that it stands
/// first in.
pub(super) fn branches(mut level: Vec<Hash>) -> Vec<Hash> {
    let mut branches = Vec::new();
    while !level.is_empty() {
        branches.push(level.remove(0));
        level = level
            .chunks(2)
            .map(|pair| {
                let second = pair.last().unwrap_or(&pair[0]);
                sha256d(&[pair[0], *second].concat())
            })
            .collect();
    }
    branches
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The root over all hashes, level by level.
    fn root(mut level: Vec<Hash>) -> Hash {
        while level.len() > 1 {
            level = level
                .chunks(2)
                .map(|pair| sha256d(&[pair[0], *pair.last().expect("one")].concat()))
                .collect();
        }
        level[0]
    }

    #[test]
    fn branches_lead_to_the_root() {
        for count in 0..20u8 {
            let others: Vec<Hash> = (1..=count).map(|number| [number; 32]).collect();
            let coinbase = [0xcc; 32];
            let all = [vec![coinbase], others.clone()].concat();
            let folded = branches(others)
                .iter()
                .fold(coinbase, |hash, branch| sha256d(&[hash, *branch].concat()));
            assert_eq!(
                folded,
                root(all),
                "{count} transactions beside the coinbase"
            );
        }
    }

    #[test]
    fn heights_as_scripts_push_them() {
        for (height, bytes) in [
            (0, &[0][..]),
            (1, &[0x51]),
            (16, &[0x60]),
            (17, &[1, 17]),
            (127, &[1, 127]),
            (128, &[2, 128, 0]),
            (255, &[2, 255, 0]),
            (256, &[2, 0, 1]),
            (840_000, &[3, 0x40, 0xd1, 0x0c]),
            (0x80_0000, &[4, 0, 0, 0x80, 0]),
        ] {
            assert_eq!(height_push(height), bytes, "{height}");
        }
    }

    #[test]
    fn a_coinbase_says_its_own_lengths() {
        let mut template = Template::synthetic(840_000, [1; 32], 0x207f_ffff, 0);
        let id = JobId::new(b"1").expect("short");
        let job = template.job(id, b"/zcn/", 8, true).expect("a job");
        let mut coinbase = Vec::new();
        job.write_coinbase(&[1; 4], &[2; 4], &mut coinbase);
        let script = usize::from(coinbase[41]);
        // Behind the script: sequence, one output of one byte, lock time.
        assert_eq!(coinbase.len(), 42 + script + 4 + 1 + 8 + 1 + 1 + 4);
        assert_eq!(coinbase[42..46], [3, 0x40, 0xd1, 0x0c]);
        let long = template.job(id, &[0; 90], 8, true);
        assert_eq!(long, Err(TemplateError::Script { bytes: 98 }));
        template.nbits = 0;
        assert_eq!(
            template.job(id, b"", 8, true),
            Err(TemplateError::Target(0))
        );
    }
}
