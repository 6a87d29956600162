//! Pages whose rows have long texts.

use parlance_domain::Error;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::knowledge_bases::{Filter, KnowledgeBase};
use parlance_storage::message_lists::{self, Position};
use parlance_storage::messages::{self, Message};
use parlance_storage::webhooks::{self, Attempt};
use parlance_storage::{Page, contacts, faqs, files, inboxes, knowledge_bases, passages, tools};

use crate::world::{World, id, later, read, write};

/// Half of what one page holds.
const HALF: usize = 8 << 20;

fn long() -> String {
    "x".repeat(HALF)
}

#[tokio::test]
async fn a_page_that_would_fill_the_memory_is_refused_and_a_smaller_one_is_not() {
    let world = World::new().await;
    let all = world.fill().await;
    let tenant = world.tenant;
    for number in 0..3 {
        let base = KnowledgeBase { id: id(), description: long(), created_at: later(number), ..all.base.clone() };
        write!(world, tenant, tx => knowledge_bases::insert(tx, tenant, &base)).unwrap();
    }
    let list = async |limit, offset| {
        let page = Page { limit, offset };
        read!(world, tenant, tx => knowledge_bases::list(tx, tenant, &Filter::default(), page))
    };
    for (limit, offset) in [(3, 0), (10_000, 0)] {
        let refused = list(limit, offset).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Invalid(errors) if format!("{errors:?}").contains("pageSize")),
            "{refused:?}"
        );
    }
    for (limit, offset, rows) in [(2, 0, 2), (2, 2, 2), (1, 0, 1), (10_000, 2, 2)] {
        let page = list(limit, offset).await.unwrap();
        assert_eq!((page.rows.len(), page.total), (rows, 4));
    }
    // One row always comes, however long it is.
    let base = KnowledgeBase { id: id(), description: long() + &long() + "x", created_at: later(9), ..all.base };
    write!(world, tenant, tx => knowledge_bases::insert(tx, tenant, &base)).unwrap();
    assert_eq!(list(1, 0).await.unwrap().rows[0].description.len(), 2 * HALF + 1);
    assert!(list(2, 0).await.is_err());
}

#[tokio::test]
async fn every_list_with_long_texts_has_a_bound() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, base, file) = (world.tenant, all.base.id, all.file.id);
    let (chatbot, inbox) = (all.chatbot.id, all.inbox.clone());
    // What the two long rows hold is just more than a page does.
    let more = || long() + "x";
    let kept = all.clone();
    write!(world, tenant, tx, kept => async {
        for number in 0..2 {
            let row = files::File {
                id: id(),
                raw_metadata: Some(more()),
                organisation: tenant.organisation(),
                ..kept.file.clone()
            };
            files::insert(tx, tenant, &row).await?;
            let row = faqs::Faq { id: id(), answer: more(), ..kept.faq.clone() };
            faqs::insert(tx, tenant, &row).await?;
            let row = contacts::Contact {
                id: id(),
                source_id: None,
                query_metadata: Some(more()),
                ..kept.contact.clone()
            };
            contacts::insert(tx, tenant, &row, kept.inbox.id).await?;
            let row = inboxes::Inbox { id: id(), query_metadata: Some(more()), ..inbox.clone() };
            inboxes::insert(tx, tenant, &row).await?;
            let row = tools::Tool { id: id(), prompt: more(), ..kept.tool.clone() };
            tools::insert(tx, tenant, &row).await?;
            let row = Attempt { id: id(), response: more(), ..kept.attempt.clone() };
            webhooks::insert_attempt(tx, tenant, &row).await?;
            let row = passages::NewPassage { id: id(), ordinal: 90 + number, text: more(), ..kept.passages[0].clone() };
            passages::insert(tx, tenant, (base, file, 1), &[row], later(1)).await?;
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    let mut tx = world.db.read(tenant).await.unwrap();
    let tx = &mut tx;
    let page = Page::ALL;
    let refused = [
        files::list(tx, tenant, &[base], &files::Filter::default(), page).await.err(),
        faqs::list(tx, tenant, &[base], &faqs::Filter::default(), page).await.err(),
        contacts::list(tx, tenant, &contacts::Filter::default(), page).await.err(),
        inboxes::list(tx, tenant, &inboxes::Filter::default(), page).await.err(),
        tools::list(tx, tenant, (None, None), page).await.err(),
        webhooks::attempts(tx, tenant, chatbot, page).await.err(),
        passages::list(tx, tenant, file, page).await.err(),
    ];
    for (position, error) in refused.into_iter().enumerate() {
        assert!(matches!(error, Some(Error::Invalid(_))), "{position}: {error:?}");
    }
    // The connection works on.
    let small = Page { offset: 0, limit: 1 };
    assert_eq!(tools::list(tx, tenant, (None, None), small).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn long_messages_make_a_part_shorter_and_none_is_left_out() {
    let world = World::new().await;
    let all = world.fill().await;
    let (tenant, conversation) = (world.tenant, all.conversation.id);
    for number in 0..5 {
        let at = later(20 + number);
        let message =
            Message { id: id(), content: format!("{number}{}", long()), created_at: at, ..all.question.clone() };
        write!(world, tenant, tx => messages::insert(tx, tenant, &message, &Terms::NONE)).unwrap();
    }
    let (mut from, mut seen, mut parts) = (None, Vec::new(), Vec::new());
    loop {
        let part = read!(world, tenant, tx => message_lists::page(tx, tenant, conversation, from, 100)).unwrap();
        seen.extend(part.rows.iter().map(|sent| sent.message.content.chars().next()));
        parts.push((part.rows.len(), part.is_cut));
        if !part.is_cut {
            break;
        }
        let last = part.rows.last().unwrap();
        from = Some(Position { at: last.message.created_at, id: last.message.id, is_back: false });
    }
    // The sign before each is what makes two of them too long for one part; the first two are the world's.
    assert_eq!(parts, [(1, true), (1, true), (1, true), (1, true), (3, false)]);
    assert_eq!(seen[..5], ['4', '3', '2', '1', '0'].map(Some));
}
