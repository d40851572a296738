//! What a node answers, and the template that comes of it (BIP 22, BIP 23, BIP 145).

use std::borrow::Cow;

use serde::Deserialize;
use zcn_stratum::hash::{Hash, sha256d};
use zcn_stratum::hex;

use super::error::NodeError;
use crate::pool::template::{Template, branches};

/// Any answer.
#[derive(Debug, Deserialize)]
pub(super) struct Reply<T> {
    // Absent and null are the same.
    pub(super) result: Option<T>,
    pub(super) error: Option<ReplyError>,
}

/// The node's own error.
#[derive(Debug, Deserialize)]
pub(super) struct ReplyError {
    pub(super) code: i64,
    pub(super) message: String,
}

/// The answer to `validateaddress`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct AddressAnswer {
    #[serde(rename = "scriptPubKey")]
    pub(super) script: Option<String>,
}

/// The answer to `getblocktemplate`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct TemplateAnswer<'a> {
    version: i64,
    #[serde(borrow)]
    rules: Option<Vec<Cow<'a, str>>>,
    previousblockhash: Cow<'a, str>,
    transactions: Vec<TransactionAnswer<'a>>,
    coinbaseaux: Option<Aux<'a>>,
    coinbasevalue: u64,
    pub(super) longpollid: Option<String>,
    curtime: u32,
    bits: Cow<'a, str>,
    height: u32,
    default_witness_commitment: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Aux<'a> {
    #[serde(borrow)]
    flags: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct TransactionAnswer<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    /// Of the transaction without its witness; nodes that know no witness may leave it out.
    txid: Option<Cow<'a, str>>,
    /// Of the whole transaction.
    hash: Cow<'a, str>,
}

/// A hash as people write it to the bytes of a header.
pub(super) fn hash(digits: &str) -> Option<Hash> {
    let mut hash: Hash = hex::decode_array(digits.as_bytes()).ok()?;
    hash.reverse();
    Some(hash)
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    hex::decode_onto(digits.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

impl TemplateAnswer<'_> {
    /// A template that pays to `payout`.
    pub(super) fn template(&self, payout: &[u8]) -> Result<Template, NodeError> {
        let mut transactions = Vec::with_capacity(self.transactions.len());
        let mut witness_hashes = Vec::with_capacity(self.transactions.len());
        for transaction in &self.transactions {
            let witness = hash(&transaction.hash).ok_or(NodeError::Field("transaction hash"))?;
            let txid = match &transaction.txid {
                None => witness,
                Some(txid) => hash(txid).ok_or(NodeError::Field("transaction id"))?,
            };
            let data = bytes(&transaction.data).ok_or(NodeError::Field("transaction data"))?;
            transactions.push((txid, data));
            witness_hashes.push(witness);
        }
        let rules = self.rules.iter().flatten();
        // An exclamation mark says that a miner must know the rule (BIP 9).
        let segwit = rules
            .into_iter()
            .any(|rule| rule.trim_start_matches('!') == "segwit");
        let commitment = match &self.default_witness_commitment {
            Some(script) => Some(bytes(script).ok_or(NodeError::Field("witness commitment"))?),
            None => segwit.then(|| commitment(witness_hashes)),
        };
        let flags = self.coinbaseaux.as_ref().and_then(|aux| aux.flags.as_ref());
        let flags = flags.map_or(Some(Vec::new()), |flags| bytes(flags));
        Ok(Template {
            height: self.height,
            // Nodes print it as a signed number; its bits are what counts.
            version: self.version as u32,
            prev_hash: hash(&self.previousblockhash).ok_or(NodeError::Field("previous hash"))?,
            nbits: hex::decode_u32(self.bits.as_bytes()).map_err(|_| NodeError::Field("target"))?,
            ntime: self.curtime,
            value: self.coinbasevalue,
            payout: payout.to_vec(),
            flags: flags.ok_or(NodeError::Field("coinbase flags"))?,
            commitment,
            transactions,
        })
    }
}

/// The script that commits to the witnesses of a block (BIP 141): the root over the hashes of all
/// transactions, the coinbase's taken as zero, hashed with a reserved value of zeros.
fn commitment(witness_hashes: Vec<Hash>) -> Vec<u8> {
    let root = branches(witness_hashes)
        .iter()
        .fold([0; 32], |root, branch| sha256d(&[root, *branch].concat()));
    let mut script = vec![0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
    script.extend_from_slice(&sha256d(&[root, [0; 32]].concat()));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"capabilities":["proposal"],"version":-1,
        "rules":["csv","!segwit"],"coinbaseaux":{"flags":"0102"},
        "previousblockhash":"0000000000000000000000000000000000000000000000000000000000000fab",
        "transactions":[{"data":"beef",
            "txid":"00000000000000000000000000000000000000000000000000000000000000aa",
            "hash":"00000000000000000000000000000000000000000000000000000000000000bb",
            "depends":[],"fee":1,"sigops":1,"weight":4}],
        "coinbasevalue":5000000001,"longpollid":"x1","curtime":1700000000,"bits":"207fffff",
        "height":17}"#;

    #[test]
    fn a_template_is_taken_over_field_by_field() {
        let answer: TemplateAnswer<'_> = serde_json::from_str(ANSWER).expect("JSON");
        assert_eq!(answer.longpollid.as_deref(), Some("x1"));
        let template = answer.template(&[0x51]).expect("a template");
        assert_eq!(template.prev_hash[..3], [0xab, 0x0f, 0]);
        assert_eq!((template.height, template.version), (17, u32::MAX));
        assert_eq!(template.nbits, 0x207f_ffff);
        assert_eq!(template.value, 5_000_000_001);
        assert_eq!(template.flags, [1, 2]);
        let mut txid = [0; 32];
        txid[0] = 0xaa;
        assert_eq!(template.transactions, [(txid, vec![0xbe, 0xef])]);
        let mut witness = [0; 32];
        witness[0] = 0xbb;
        // Two leaves: zeros and the one transaction.
        let root = sha256d(&[[0; 32], witness].concat());
        let script = template.commitment.expect("segwit is a rule");
        assert_eq!(script[..6], [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed]);
        assert_eq!(script[6..], sha256d(&[root, [0; 32]].concat()));
    }

    #[test]
    fn a_block_without_transactions_commits_to_what_everybody_knows() {
        // The script that Bitcoin Core prints for every empty block of a fresh regtest chain.
        let known = "6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9";
        assert_eq!(hex::encode(&commitment(Vec::new())), known);
    }

    #[test]
    fn the_nodes_own_commitment_is_preferred_and_none_is_made_without_the_rule() {
        let said = ANSWER.replace(
            "\"height\"",
            "\"default_witness_commitment\":\"6a00\",\"height\"",
        );
        let answer: TemplateAnswer<'_> = serde_json::from_str(&said).expect("JSON");
        let template = answer.template(&[]).expect("a template");
        assert_eq!(template.commitment, Some(vec![0x6a, 0]));
        let old = ANSWER
            .replace("!segwit", "bip34")
            .replace("\"txid\"", "\"id\"");
        let answer: TemplateAnswer<'_> = serde_json::from_str(&old).expect("JSON");
        let template = answer.template(&[]).expect("a template");
        assert_eq!(template.commitment, None);
        assert_eq!(
            template.transactions[0].0[0], 0xbb,
            "the only hash there is"
        );
    }

    #[test]
    fn fields_that_are_none_are_named() {
        for (right, wrong, name) in [
            ("0fab", "0xab", "previous hash"),
            ("beef", "bee", "transaction data"),
            ("00aa\"", "00aag\"", "transaction id"),
            ("00bb\"", "\"", "transaction hash"),
            ("207fffff", "7fffff", "target"),
            ("0102", "010", "coinbase flags"),
        ] {
            let broken = ANSWER.replace(right, wrong);
            let answer: TemplateAnswer<'_> = serde_json::from_str(&broken).expect("JSON");
            let error = answer.template(&[]).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
