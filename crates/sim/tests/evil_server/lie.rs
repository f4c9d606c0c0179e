//! Ways to lie. A lie changes what is on its way to the client; one that changes nothing was not told, and its test fails.

use crate::host::{Answered, Asked};
use keyferry_crypto::hash::sha256;
use keyferry_wire::Wire;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Account, Answer, Evaluated, Member, PinStatus};
use keyferry_wire::evidence::{Evidence, SimReport};
use keyferry_wire::frame::{Reply, ReplyFrame, Request, SessionOpened};
use keyferry_wire::publish::{AccountProof, AuditPage, SyncPage};
use serde_json::Value;

/// Answers in the gateway's place, or lets it answer.
type Answering = Box<dyn FnMut(&Asked) -> Option<Http> + Send>;

/// What the host makes of the gateway's answers.
pub(crate) enum Lie {
    /// Answers in the gateway's place.
    Http(Answering),
    /// Changes the message.
    Told(Box<dyn FnMut(&mut Told<'_>) + Send>),
}

/// An answer that the gateway never gave.
pub(crate) enum Http {
    Answer(Answered),
    /// A body that never ends.
    Endless,
}

/// A message on its way to the client.
pub(crate) enum Told<'a> {
    Evidence(&'a mut Evidence),
    Opened(&'a mut SessionOpened),
    /// The request, and the reply as the enclave writes it: inside the channel, and around it.
    Reply(&'a Request, &'a mut Reply, &'a mut ReplyFrame),
    Sync(&'a mut SyncPage),
    Audit(&'a mut AuditPage),
}

/// Any message.
pub(crate) fn told(mut lie: impl FnMut(&mut Told<'_>) + Send + 'static) -> Lie {
    Lie::Told(Box::new(move |told| lie(told)))
}

pub(crate) fn evidence(mut lie: impl FnMut(&mut Evidence) + Send + 'static) -> Lie {
    told(move |told| {
        if let Told::Evidence(evidence) = told {
            lie(evidence);
        }
    })
}

/// The report of the stand-in.
pub(crate) fn report(mut lie: impl FnMut(&mut SimReport) + Send + 'static) -> Lie {
    evidence(move |evidence| {
        let mut report = SimReport::from_bytes(&evidence.report).unwrap();
        lie(&mut report);
        evidence.report = Bytes(report.to_bytes());
    })
}

/// What the evidence says, under the report that vouched for something else.
pub(crate) fn statement(mut lie: impl FnMut(&mut Value) + Send + 'static) -> Lie {
    evidence(move |evidence| {
        let mut json: Value = serde_json::from_slice(&evidence.runtime_data).unwrap();
        lie(&mut json);
        evidence.runtime_data = Bytes(json.to_string().into_bytes());
    })
}

/// The same, with a report made for it: the stand-in is signed by nobody.
pub(crate) fn vouched(mut lie: impl FnMut(&mut Value) + Send + 'static) -> Lie {
    evidence(move |evidence| {
        let mut json: Value = serde_json::from_slice(&evidence.runtime_data).unwrap();
        lie(&mut json);
        evidence.runtime_data = Bytes(json.to_string().into_bytes());
        let mut report = SimReport::from_bytes(&evidence.report).unwrap();
        report.report_data[..32].copy_from_slice(&sha256(&[&evidence.runtime_data]));
        evidence.report = Bytes(report.to_bytes());
    })
}

pub(crate) fn opened(mut lie: impl FnMut(&mut SessionOpened) + Send + 'static) -> Lie {
    told(move |told| {
        if let Told::Opened(opened) = told {
            lie(opened);
        }
    })
}

/// Around the channel: what a gateway can do.
pub(crate) fn frame(mut lie: impl FnMut(&mut ReplyFrame) + Send + 'static) -> Lie {
    told(move |told| {
        if let Told::Reply(_, _, frame) = told {
            lie(frame);
        }
    })
}

/// Inside the channel: what a false enclave can do.
pub(crate) fn reply(mut lie: impl FnMut(&mut Reply) + Send + 'static) -> Lie {
    told(move |told| {
        if let Told::Reply(_, reply, _) = told {
            lie(reply);
        }
    })
}

/// The checkpoint of a reply.
pub(crate) fn checkpoint(mut lie: impl FnMut(&str) -> Option<String> + Send + 'static) -> Lie {
    reply(move |reply| reply.checkpoint = reply.checkpoint.as_deref().and_then(&mut lie))
}

fn answer(mut lie: impl FnMut(&mut Answer) + Send + 'static) -> Lie {
    reply(move |reply| reply.answers.iter_mut().for_each(&mut lie))
}

/// The answer to a last command, in place of the enclave's.
pub(crate) fn instead(answer: Answer) -> Lie {
    reply(move |reply| *reply.answers.last_mut().unwrap() = answer.clone())
}

pub(crate) fn account(mut lie: impl FnMut(&mut Account) + Send + 'static) -> Lie {
    answer(move |answer| match answer {
        Answer::Account(account) => lie(account),
        Answer::Member(member) => lie(&mut member.account),
        _ => {}
    })
}

pub(crate) fn member(mut lie: impl FnMut(&mut Member) + Send + 'static) -> Lie {
    answer(move |answer| {
        if let Answer::Member(member) = answer {
            lie(member);
        }
    })
}

pub(crate) fn pin_status(mut lie: impl FnMut(&mut PinStatus) + Send + 'static) -> Lie {
    answer(move |answer| {
        if let Answer::PinStatus(status) = answer {
            lie(status);
        }
    })
}

/// Evaluations of a PIN: of the one in force, and of the next.
pub(crate) fn evaluated(mut lie: impl FnMut(&mut Evaluated) + Send + 'static) -> Lie {
    answer(move |answer| {
        if let Answer::Evaluated(evaluated) | Answer::Prepared(evaluated) = answer {
            lie(evaluated);
        }
    })
}

pub(crate) fn any_answer(lie: impl FnMut(&mut Answer) + Send + 'static) -> Lie {
    answer(lie)
}

pub(crate) fn sync(mut lie: impl FnMut(&mut SyncPage) + Send + 'static) -> Lie {
    told(move |told| {
        if let Told::Sync(page) = told {
            lie(page);
        }
    })
}

pub(crate) fn audit(mut lie: impl FnMut(&mut AuditPage) + Send + 'static) -> Lie {
    told(move |told| {
        if let Told::Audit(page) = told {
            lie(page);
        }
    })
}

/// The account's proof, wherever it is shown.
pub(crate) fn proof(mut lie: impl FnMut(&mut AccountProof) + Send + 'static) -> Lie {
    told(move |told| match told {
        Told::Sync(SyncPage { account: Some(proof), .. }) => lie(proof),
        Told::Audit(page) => lie(&mut page.account),
        _ => {}
    })
}

/// A problem in plain HTTP in place of every answer at this address.
pub(crate) fn problem(path: &'static str, status: u16, code: &'static str) -> Lie {
    Lie::Http(Box::new(move |asked| {
        let body = format!(r#"{{"error":"{code}","message":"a sentence of the gateway's own","left":0}}"#);
        asked.path.starts_with(path).then(|| Http::Answer(Answered { status, body: body.into_bytes() }))
    }))
}
