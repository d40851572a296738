//! A node of the chain, such as `bitcoind`: where templates come from and blocks go to.

mod answer;
mod error;
mod follow;
mod http;

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zcn_stratum::hash::Hash;
use zcn_stratum::hex;

use super::template::Template;
use answer::{AddressAnswer, Reply, TemplateAnswer};
pub use error::NodeError;
pub use follow::{Followed, follow};
use http::Answer;

/// How long a call may take that does not wait for a block.
const PATIENCE: Duration = Duration::from_secs(30);
/// Port of a node on the main chain.
const DEFAULT_PORT: u16 = 8332;

/// How a node knows who calls.
#[derive(Clone)]
#[non_exhaustive]
pub enum NodeLogin {
    /// A file of `user:password`, such as the `.cookie` that a node writes anew at each start;
    /// read at each call.
    CookieFile(PathBuf),
    /// What the node's configuration says.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for NodeLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CookieFile(path) => f.debug_tuple("CookieFile").field(path).finish(),
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
        }
    }
}

/// JSON-RPC to a node, for tasks of a [`zcn::Runtime`]. Clones are the same node.
///
/// Each call is one HTTP/1.1 exchange on a connection of its own.
#[derive(Clone, Debug)]
pub struct Node(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    target: String,
    path: String,
    login: NodeLogin,
}

/// A template and how to wait for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTemplate {
    /// What miners are to work on.
    pub template: Template,
    /// Names this template in [`Node::template_after`]; nodes without long polling have none.
    pub long_poll_id: Option<String>,
}

impl Node {
    /// A node at `http://HOST[:PORT][/PATH]`, port 8332 unless said otherwise.
    ///
    /// # Errors
    /// The URL is none, or not of that form. Whether a node is there is not looked at.
    pub fn new(url: &str, login: NodeLogin) -> Result<Self, NodeError> {
        let wrong = |reason| NodeError::Url {
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| wrong("write http://127.0.0.1:8332"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("nodes speak plain HTTP: write http:// before it"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user and password do not belong into it"));
        }
        // `Authority::port` has none where the number is too large.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None => DEFAULT_PORT,
            Some(digits) => digits.parse().map_err(|_| wrong("its port is no number"))?,
        };
        Ok(Self(Rc::new(Inner {
            target: format!("{}:{port}", authority.host()),
            path: uri.path().to_owned(),
            login,
        })))
    }

    /// Where it is, as `HOST:PORT`.
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// The script that pays to an address of the node's chain.
    ///
    /// # Errors
    /// The node cannot be asked, or knows no such address.
    pub async fn script_of(&self, address: &str) -> Result<Vec<u8>, NodeError> {
        let answer: Option<AddressAnswer> = self
            .call("validateaddress", json!([address]), Some(PATIENCE))
            .await?;
        let unknown = || NodeError::Address(address.to_owned());
        let digits = answer
            .and_then(|answer| answer.script)
            .ok_or_else(unknown)?;
        let mut script = Vec::new();
        hex::decode_onto(digits.as_bytes(), &mut script).map_err(|_| unknown())?;
        Ok(script)
    }

    /// What miners are to work on now, paid to the script `payout`.
    ///
    /// # Errors
    /// The node cannot be asked, or has none.
    pub async fn template(&self, payout: &[u8]) -> Result<NodeTemplate, NodeError> {
        self.ask_template(json!({"rules": ["segwit"]}), payout, Some(PATIENCE))
            .await
    }

    /// Waits until the template that was named so is over: a block has come, or transactions
    /// that pay more (BIP 22, long polling). It may take as long as a block takes; a call that
    /// is given up goes on to occupy the node, which has few threads for calls.
    ///
    /// # Errors
    /// As [`template`](Self::template).
    pub async fn template_after(
        &self,
        long_poll_id: &str,
        payout: &[u8],
    ) -> Result<NodeTemplate, NodeError> {
        let request = json!({"rules": ["segwit"], "longpollid": long_poll_id});
        self.ask_template(request, payout, None).await
    }

    async fn ask_template(
        &self,
        request: Value,
        payout: &[u8],
        limit: Option<Duration>,
    ) -> Result<NodeTemplate, NodeError> {
        let method = "getblocktemplate";
        let answer = self.post(method, json!([request]), limit).await?;
        let reply: Reply<TemplateAnswer<'_>> = parse(method, &answer)?;
        let answer = result(method, reply)?.ok_or(NodeError::Field("result"))?;
        let template = answer.template(payout)?;
        Ok(NodeTemplate {
            template,
            long_poll_id: answer.longpollid,
        })
    }

    /// The block that the next one has to follow, as it stands in a header.
    ///
    /// # Errors
    /// The node cannot be asked.
    pub async fn best_block(&self) -> Result<Hash, NodeError> {
        let digits: Option<String> = self
            .call("getbestblockhash", json!([]), Some(PATIENCE))
            .await?;
        digits
            .and_then(|digits| answer::hash(&digits))
            .ok_or(NodeError::Field("best block"))
    }

    /// Hands in a block, header and transactions; again as long as the node is away, at most for
    /// ten minutes. `None` when the node took it, otherwise its word for why not.
    ///
    /// # Errors
    /// The last one, when the node cannot be asked or cannot read the block.
    pub async fn submit(&self, block: &[u8]) -> Result<Option<String>, NodeError> {
        let digits = hex::encode(block);
        let mut wait = Duration::from_millis(250);
        let mut waited = Duration::ZERO;
        loop {
            let submitting = self.call("submitblock", json!([digits]), Some(PATIENCE));
            match submitting.await {
                // The answer to an attempt before this one was lost.
                Ok(Some(word)) if word == "duplicate" && !waited.is_zero() => return Ok(None),
                Err(error) if error.is_transient() && waited < Duration::from_secs(600) => {
                    tracing::warn!(%error, "the block is handed in again in {wait:?}");
                    zcn::sleep(wait).await;
                    waited += wait;
                    wait = (wait * 2).min(Duration::from_secs(10));
                }
                answered => return answered,
            }
        }
    }

    /// Calls, and waits for the result at most `limit`.
    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        limit: Option<Duration>,
    ) -> Result<Option<T>, NodeError> {
        let answer = self.post(method, params, limit).await?;
        result(method, parse(method, &answer)?)
    }

    async fn post(
        &self,
        method: &'static str,
        params: Value,
        limit: Option<Duration>,
    ) -> Result<Answer, NodeError> {
        let request = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": params});
        let body = request.to_string().into_bytes();
        let authorization = self.authorization()?;
        let posting = http::post(&self.0.target, &self.0.path, authorization, body);
        let answer = match limit {
            None => posting.await?,
            Some(limit) => zcn::timeout(limit, posting)
                .await
                .map_err(|_| NodeError::Timeout(limit))??,
        };
        match answer.status {
            status @ (401 | 403) => Err(NodeError::Refused { status }),
            // Errors of a call come with a status of their own, and with JSON that says more.
            200..300 | 400..600 if answer.body.first() == Some(&b'{') => Ok(answer),
            status => Err(NodeError::Status { method, status }),
        }
    }

    fn authorization(&self) -> Result<HeaderValue, NodeError> {
        let login = match &self.0.login {
            NodeLogin::Password { user, password } => format!("{user}:{password}"),
            NodeLogin::CookieFile(path) => match std::fs::read_to_string(path) {
                Ok(text) => text.trim_end().to_owned(),
                Err(source) => {
                    let path = path.clone();
                    return Err(NodeError::Cookie { path, source });
                }
            },
        };
        let basic = format!("Basic {}", STANDARD.encode(login));
        // Base 64 has no letter that a header must not have.
        let mut value = HeaderValue::from_str(&basic).map_err(|_| NodeError::Field("login"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(
    method: &'static str,
    answer: &'a Answer,
) -> Result<Reply<T>, NodeError> {
    serde_json::from_slice(&answer.body).map_err(|source| NodeError::Answer { method, source })
}

fn result<T>(method: &'static str, reply: Reply<T>) -> Result<Option<T>, NodeError> {
    match reply.error {
        None => Ok(reply.result),
        Some(error) => Err(NodeError::Call {
            method,
            code: error.code,
            message: error.message,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(url: &str) -> Result<Node, NodeError> {
        let (user, password) = ("me".to_owned(), "secret".to_owned());
        Node::new(url, NodeLogin::Password { user, password })
    }

    #[test]
    fn addresses_of_nodes() {
        for (url, target, path) in [
            ("http://127.0.0.1:18443", "127.0.0.1:18443", "/"),
            (
                "http://node.example/wallet/a",
                "node.example:8332",
                "/wallet/a",
            ),
            ("http://[::1]", "[::1]:8332", "/"),
        ] {
            let node = node(url).expect(url);
            assert_eq!((&*node.0.target, &*node.0.path), (target, path));
        }
        for url in [
            "127.0.0.1:8332",
            "https://a:1",
            "http://me:x@a:1",
            "http://a:99999",
            "",
        ] {
            let error = node(url).expect_err(url).to_string();
            assert!(error.contains(&format!("{url:?}")), "{error}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let node = node("http://a").expect("a URL");
        assert!(!format!("{node:?}").contains("secret"));
        let header = node.authorization().expect("a header");
        assert_eq!(header, "Basic bWU6c2VjcmV0");
        assert!(header.is_sensitive());
    }
}
