//! A second organisation that knows the first one's ids sees nothing of it and changes nothing.
//!
//! Each function runs in the stranger's scope and in the one that PostgreSQL does not restrict, so
//! that the statements' own predicates are what is tested as well as row-level security.

use parlance_domain::Tenant;
use parlance_storage::conversation_terms::Terms;
use parlance_storage::conversations::Activity;
use parlance_storage::faqs::Faq;
use parlance_storage::index_changes::IndexChange;
use parlance_storage::jobs::Job;
use parlance_storage::labels::Label;
use parlance_storage::{
    Page, Scope, api_keys, attachments, chatbots, contact_credentials, contacts, conversations, domain_checks, faqs,
    files, inboxes, index_changes, jobs, knowledge_bases, labels, messages, organisations, passages, providers,
    records, replies, silent_contacts, tools, uploads, web_chats, webhooks,
};

use crate::world::{NOW, Things, World, id, later, read, scopes, write};

#[tokio::test]
async fn a_stranger_sees_nothing() {
    let world = World::new().await;
    let all = world.fill().await;
    for scope in scopes(world.stranger) {
        sees_nothing(&world, &all, scope).await;
    }
}

#[expect(clippy::too_many_lines, reason = "a list of calls")]
async fn sees_nothing(world: &World, all: &Things, scope: Scope) {
    let who: Tenant = world.stranger;
    let mut tx = world.db.read(scope).await.unwrap();
    let tx = &mut tx;
    let own = organisations::get(tx, who).await.unwrap().unwrap();
    assert_eq!(own.name, "Second");
    assert!(organisations::owner(tx, who).await.unwrap().is_none());
    assert!(api_keys::list(tx, who).await.unwrap().is_empty());
    assert!(attachments::get(tx, who, all.attachment.id).await.unwrap().is_none());
    assert_eq!(attachments::list(tx, who, Page::ALL).await.unwrap().total, 0);
    assert!(chatbots::get(tx, who, all.chatbot.id).await.unwrap().is_none());
    assert_eq!(chatbots::list(tx, who, &chatbots::Filter::default(), Page::ALL).await.unwrap().total, 0);
    assert!(chatbots::knowledge_bases(tx, who, all.chatbot.id).await.unwrap().is_empty());
    assert!(contacts::get(tx, who, all.contact.id).await.unwrap().is_none());
    assert!(contacts::by_source(tx, who, all.inbox.id, "visitor-1").await.unwrap().is_none());
    assert!(conversations::get(tx, who, all.conversation.id).await.unwrap().is_none());
    assert_eq!(contacts::list(tx, who, &contacts::Filter::default(), Page::ALL).await.unwrap().total, 0);
    let here = contacts::Filter { inboxes: Some(vec![all.inbox.id]), ..contacts::Filter::default() };
    assert_eq!(contacts::list(tx, who, &here, Page::ALL).await.unwrap().total, 0);
    assert!(contacts::inboxes(tx, who, &[all.contact.id]).await.unwrap().is_empty());
    assert!(contacts::of_inbox(tx, who, all.inbox.id, 10).await.unwrap().is_empty());
    assert!(contact_credentials::find(tx, who, all.contact.id, all.tool.id).await.unwrap().is_none());
    assert!(contact_credentials::headers(tx, who, all.contact.id, all.tool.id).await.unwrap().is_none());
    assert!(contact_credentials::of_contacts(tx, who, &[all.contact.id]).await.unwrap().is_empty());
    assert!(tools::get(tx, who, all.tool.id).await.unwrap().is_none());
    assert_eq!(tools::list(tx, who, (None, None), Page::ALL).await.unwrap().total, 0);
    assert!(tools::of_chatbot(tx, who, all.chatbot.id).await.unwrap().is_empty());
    assert!(conversations::latest_of_contact(tx, who, all.contact.id, None).await.unwrap().is_none());
    let conversation = conversations::of_chatbot(tx, who, all.chatbot.id, all.conversation.id).await.unwrap();
    assert!(conversation.is_none());
    assert!(!conversations::exists(tx, who, all.conversation.id).await.unwrap());
    assert!(files::get(tx, who, all.base.id, all.file.id).await.unwrap().is_none());
    assert!(files::find(tx, who, all.file.id).await.unwrap().is_none());
    let listed = files::list(tx, who, &[all.base.id], &files::Filter::default(), Page::ALL).await.unwrap();
    assert_eq!((listed.total, listed.rows.len()), (0, 0));
    assert!(domain_checks::get(tx, who, id()).await.unwrap().is_none());
    assert!(files::not_made_with(tx, who, all.base.id, Some(id()), (None, 9)).await.unwrap().is_empty());
    assert!(files::oldest_of_base(tx, who, all.base.id, 9).await.unwrap().is_empty());
    assert!(inboxes::of_api(tx, who, all.chatbot.id).await.unwrap().is_none());
    assert!(inboxes::of_web_chat(tx, who, all.web_chat.id).await.unwrap().is_none());
    assert!(inboxes::get(tx, who, all.inbox.id).await.unwrap().is_none());
    assert!(inboxes::shown(tx, who, all.inbox.id).await.unwrap().is_none());
    assert_eq!(inboxes::list(tx, who, &inboxes::Filter::default(), Page::ALL).await.unwrap().total, 0);
    assert!(knowledge_bases::get(tx, who, all.base.id).await.unwrap().is_none());
    let listed = knowledge_bases::list(tx, who, &knowledge_bases::Filter::default(), Page::ALL).await.unwrap();
    assert_eq!((listed.total, listed.rows.len()), (0, 0));
    assert!(knowledge_bases::all(tx, who).await.unwrap().is_empty());
    assert!(knowledge_bases::of_chatbot(tx, who, all.chatbot.id).await.unwrap().is_empty());
    assert!(knowledge_bases::chatbots(tx, who, &[all.base.id]).await.unwrap().is_empty());
    assert!(knowledge_bases::files_counts(tx, who, &[all.base.id]).await.unwrap().is_empty());
    assert!(knowledge_bases::existing_of(tx, who, &[all.base.id]).await.unwrap().is_empty());
    assert!(chatbots::existing_of(tx, who, &[all.chatbot.id]).await.unwrap().is_empty());
    assert!(messages::get(tx, who, all.question.id).await.unwrap().is_none());
    assert!(messages::unfinished(tx, who, all.answer.id).await.unwrap().is_none());
    assert!(messages::history(tx, who, all.conversation.id, 10).await.unwrap().is_empty());
    let passage = all.passages[1].id;
    assert!(passages::get(tx, who, passage).await.unwrap().is_none());
    assert!(passages::searchable(tx, who, &[passage]).await.unwrap().is_empty());
    assert!(passages::files(tx, who, &[all.file.id]).await.unwrap().is_empty());
    assert!(passages::vectors(tx, who, id(), &[passage]).await.unwrap().is_empty());
    assert_eq!(passages::list(tx, who, all.file.id, Page::ALL).await.unwrap().total, 0);
    assert!(passages::of_generation(tx, who, (all.file.id, 1), 0, 10).await.unwrap().is_empty());
    assert!(labels::get(tx, who, all.base.id, all.label.id).await.unwrap().is_none());
    assert!(labels::by_name(tx, who, all.base.id, &all.label.name).await.unwrap().is_none());
    assert_eq!(labels::list(tx, who, all.base.id, None, Page::ALL).await.unwrap().total, 0);
    assert_eq!(labels::count(tx, who, all.base.id).await.unwrap(), 0);
    assert!(!labels::any(tx, who, &[all.base.id]).await.unwrap());
    assert!(labels::of_files(tx, who, &[all.file.id]).await.unwrap().is_empty());
    assert!(labels::of_faqs(tx, who, &[all.faq.id]).await.unwrap().is_empty());
    assert!(labels::files_with(tx, who, &[all.label.id]).await.unwrap().is_empty());
    assert!(faqs::get(tx, who, all.faq.id).await.unwrap().is_none());
    assert!(faqs::by_ids(tx, who, &[all.faq.id]).await.unwrap().is_empty());
    let listed = faqs::list(tx, who, &[all.base.id], &faqs::Filter::default(), Page::ALL).await.unwrap();
    assert_eq!((listed.total, listed.rows.len()), (0, 0));
    assert!(faqs::first_of_base(tx, who, all.base.id, 9).await.unwrap().is_empty());
    assert!(faqs::indexed(tx, who, all.faq.id).await.unwrap().is_none());
    assert!(faqs::without_vector_of(tx, who, all.base.id, id(), (None, 9)).await.unwrap().is_empty());
    assert!(providers::list(tx, who).await.unwrap().is_empty());
    assert!(providers::get(tx, who, all.provider.id).await.unwrap().is_none());
    assert!(providers::models(tx, who).await.unwrap().is_empty());
    assert!(records::of_message(tx, who, all.answer.id).await.unwrap().is_none());
    assert!(replies::get(tx, who, all.question.id).await.unwrap().is_none());
    assert!(replies::next(tx, who, all.conversation.id).await.unwrap().is_none());
    assert!(replies::history(tx, who, all.conversation.id, 10).await.unwrap().is_empty());
    assert!(replies::place(tx, who, all.conversation.id).await.unwrap().is_none());
    assert!(webhooks::endpoint(tx, who, all.chatbot.id).await.unwrap().is_none());
    assert!(webhooks::get(tx, who, all.delivery.id).await.unwrap().is_none());
    assert!(webhooks::due(tx, who, all.chatbot.id, later(99), 10).await.unwrap().is_empty());
    assert!(webhooks::next_due(tx, who, all.chatbot.id).await.unwrap().is_none());
    assert_eq!(webhooks::attempts(tx, who, all.chatbot.id, Page::ALL).await.unwrap().total, 0);
    assert!(webhooks::attempt(tx, who, all.chatbot.id, all.attempt.id).await.unwrap().is_none());
    assert!(uploads::by_key(tx, who, &all.upload.blob_key).await.unwrap().is_none());
    assert!(uploads::by_id(tx, who, all.upload.id).await.unwrap().is_none());
    assert_eq!(uploads::shown_by(tx, who, &all.file.blob_key).await.unwrap(), uploads::ShownBy::default());
    assert_eq!(uploads::shown_by(tx, who, &all.attachment.blob_key).await.unwrap(), uploads::ShownBy::default());
    assert_eq!(passages::count_generation(tx, who, all.file.id, 1).await.unwrap(), (0, 0));
    assert!(passages::without_vector(tx, who, (all.file.id, 1), 10).await.unwrap().is_empty());
    assert!(web_chats::of_api(tx, who, all.chatbot.id).await.unwrap().is_none());
    assert!(web_chats::of_api_by_chatbot(tx, who).await.unwrap().is_empty());
    assert!(!jobs::is_held(tx, who, &claimed(world, all)).await.unwrap());

    // A passage as the owner sees it, in the hands of the stranger.
    let owners = read!(world, world.tenant, tx => passages::get(tx, world.tenant, passage)).unwrap().unwrap();
    let owners = [&owners];
    assert!(passages::neighbours(tx, who, &owners).await.unwrap().is_empty());
    assert_eq!(read!(world, world.tenant, tx => passages::neighbours(tx, world.tenant, &owners)).unwrap().len(), 2);
}

fn claimed(world: &World, all: &Things) -> Job {
    Job {
        id: all.job.id,
        organisation: world.tenant.organisation(),
        kind: all.job.kind.into(),
        payload: "{}".into(),
        attempts: 0,
        generation: 0,
    }
}

#[tokio::test]
async fn a_stranger_changes_nothing() {
    let world = World::new().await;
    let all = world.fill().await;
    let before = world.rows_of(world.tenant).await;
    assert!(before.len() >= 23, "every tenant table has a row: {:?}", before.keys());
    for scope in scopes(world.stranger) {
        refuses_changes(&world, &all, scope).await;
        assert_eq!(world.rows_of(world.tenant).await, before);
        refuses_removal(&world, &all, scope).await;
        assert_eq!(world.rows_of(world.tenant).await, before);
        // These make rows of the stranger's own, or fail; either is fine, the owner's rows stay.
        takes_over_nothing(&world, &all, scope).await;
        assert_eq!(world.rows_of(world.tenant).await, before);
    }
}

async fn refuses_changes(world: &World, all: &Things, scope: Scope) {
    let who = world.stranger;
    let (all, job) = (all.clone(), claimed(world, all));
    write!(world, scope, tx, all => async {
        assert!(!api_keys::revoke(tx, who, all.key.id, NOW).await?);
        chatbots::update(tx, who, &chatbots::Chatbot { name: "taken".into(), ..all.chatbot.clone() }).await?;
        let activity = Activity { at: NOW, unread: 1, title: "taken", title_folded: "taken" };
        conversations::touch(tx, who, all.conversation.id, &activity).await?;
        contacts::join(tx, who, all.contact.id, (all.inbox.id, Some("taken")), NOW).await?;
        files::describe(tx, who, all.file.id, ("taken", "taken"), None, NOW).await?;
        assert_eq!(files::begin_generation(tx, who, all.file.id, id(), NOW).await?, None);
        let progress = files::Progress { stage: "parsing", done: 1, total: 2 };
        assert!(!files::progress(tx, who, all.file.id, 1, progress, NOW).await?);
        assert!(!files::fail(tx, who, all.file.id, 1, "taken", NOW).await?);
        assert!(!files::wait(tx, who, all.file.id, 1, "taken", NOW).await?);
        assert!(!contacts::update(tx, who, &contacts::Contact { name: "taken".into(), ..all.contact.clone() }, &Terms::NONE).await?);
        assert!(contacts::claim_source(tx, who, all.inbox.id, "visitor-1").await?.is_none());
        assert!(!inboxes::update(tx, who, &inboxes::Inbox { name: "taken".into(), ..all.inbox.clone() }).await?);
        tools::update(tx, who, &tools::Tool { name: "taken".into(), ..all.tool.clone() }).await?;
        uploads::release(tx, who, &all.upload.blob_key).await?;
        assert!(!files::publish(tx, who, all.file.id, (1, None), NOW).await?);
        labels::update(tx, who, &Label { name: "taken".into(), ..all.label.clone() }).await?;
        labels::set_of_file(tx, who, all.file.id, &[]).await?;
        labels::set_of_faq(tx, who, all.faq.id, &[]).await?;
        assert!(!faqs::update(tx, who, &Faq { answer: "taken".into(), ..all.faq.clone() }).await?);
        assert!(!faqs::describe(tx, who, all.faq.id, Some("taken"), NOW).await?);
        assert!(!faqs::set_vector(tx, who, (all.faq.id, 1), id(), &[1; 4]).await?);
        assert!(!faqs::drop_vector(tx, who, all.faq.id).await?);
        faqs::count_hits(tx, who, &[all.faq.id]).await?;
        knowledge_bases::update(tx, who, &knowledge_bases::KnowledgeBase { name: "taken".into(), ..all.base.clone() })
            .await?;
        let partial = messages::Partial { tenant: who, id: all.answer.id, content: "taken".into() };
        messages::save_partials(tx, &[partial], NOW).await?;
        let terms = Terms::NONE;
        let ending = messages::Ending { state: "done", content: "taken", citations: "[]", error: None, terms: &terms };
        messages::end(tx, who, (all.conversation.id, all.answer.id), &ending, NOW).await?;
        assert!(!messages::interrupt(tx, who, all.answer.id, NOW).await?);
        passages::set_vectors(tx, who, &[(all.passages[0].id, vec![1; 4])]).await?;
        passages::count_hits(tx, who, &[all.passages[0].id]).await?;
        assert!(!uploads::mark_used(tx, who, &all.upload.blob_key, NOW).await?);
        assert!(!jobs::heartbeat(tx, who, &job, later(60)).await?);
        assert!(!jobs::note(tx, who, &job, "taken").await?);
        assert!(!jobs::retry(tx, who, &job, "taken", later(60)).await?);
        assert!(!jobs::give_back(tx, who, &job).await?);
        assert!(!jobs::go_on(tx, who, &job, later(60)).await?);
        assert!(!replies::lock(tx, who, all.conversation.id).await?);
        assert!(!replies::insert(tx, who, &replies::Reply { answer_id: id(), ..all.reply.clone() }).await?);
        assert!(!replies::finish(tx, who, all.question.id).await?);
        webhooks::set_secret(tx, who, all.chatbot.id, (&[9], NOW), NOW).await?;
        webhooks::note_failure(tx, who, all.chatbot.id, NOW).await?;
        webhooks::disable(tx, who, all.chatbot.id, "taken", NOW).await?;
        webhooks::enable(tx, who, all.chatbot.id).await?;
        webhooks::advance(tx, who, all.chatbot.id, NOW.minus(std::time::Duration::from_secs(1))).await?;
        let standing = webhooks::Standing { status: "failed", attempts: 9, next_attempt_at: NOW };
        webhooks::set_standing(tx, who, all.delivery.id, standing).await?;
        assert!(!webhooks::ask_again(tx, who, all.delivery.id, NOW).await?);
        Ok(())
    })
    .unwrap();
}

async fn refuses_removal(world: &World, all: &Things, scope: Scope) {
    let who = world.stranger;
    let (all, job) = (all.clone(), claimed(world, all));
    write!(world, scope, tx, all => async {
        assert!(attachments::delete(tx, who, all.attachment.id).await?.is_none());
        assert!(!chatbots::delete(tx, who, all.chatbot.id).await?);
        assert!(!contacts::delete(tx, who, all.contact.id, NOW).await?);
        assert!(!silent_contacts::remove(tx, who, all.contact.id, &all.contact.name).await?);
        contacts::leave(tx, who, all.contact.id, all.inbox.id).await?;
        assert_eq!(contact_credentials::delete_of_contact(tx, who, all.contact.id).await?, 0);
        assert_eq!(contact_credentials::delete_of_tool(tx, who, all.tool.id).await?, 0);
        assert!(!inboxes::delete(tx, who, all.inbox.id, NOW).await?);
        assert!(!tools::delete(tx, who, all.tool.id).await?);
        assert!(files::mark_deleting(tx, who, all.file.id, NOW).await?.is_none());
        assert!(files::delete(tx, who, all.file.id).await?.is_none());
        assert!(faqs::delete(tx, who, all.faq.id).await?.is_none());
        assert!(!labels::delete(tx, who, all.base.id, all.label.id).await?);
        assert!(!knowledge_bases::mark_deleting(tx, who, all.base.id, NOW).await?);
        assert!(!knowledge_bases::delete(tx, who, all.base.id).await?);
        assert_eq!(passages::delete_older(tx, who, all.file.id, 9, 100).await?, 0);
        assert_eq!(passages::delete_generation(tx, who, all.file.id, 1, 100).await?, 0);
        assert!(!providers::delete(tx, who, all.provider.id).await?);
        assert!(!uploads::delete_abandoned(tx, who, &all.upload.blob_key).await?);
        assert!(!jobs::finish(tx, who, &job).await?);
        jobs::remove(tx, who, &all.job.unique_key).await?;
        Ok(())
    })
    .unwrap();
}

async fn takes_over_nothing(world: &World, all: &Things, scope: Scope) {
    let who = world.stranger;
    let kept = all.clone();
    drop(write!(world, scope, tx, kept => async {
        api_keys::upsert(tx, who, &api_keys::ApiKey { scopes: String::new(), ..kept.key.clone() }).await
    }));
    drop(write!(world, scope, tx, kept => async {
        providers::upsert(tx, who, &providers::Provider { name: "taken".into(), ..kept.provider.clone() }).await
    }));
    drop(write!(world, scope, tx, kept => async {
        uploads::insert(tx, who, &uploads::Upload { size: 99, ..kept.upload.clone() }, None).await
    }));
    drop(write!(world, scope, tx, kept => async {
        records::insert(tx, who, &records::Record { id: id(), output_message: "taken".into(), ..kept.record.clone() }).await
    }));
    drop(write!(world, scope, tx, kept => async {
        let sealed = contact_credentials::ContactCredential { headers_sealed: vec![9], ..kept.credential.clone() };
        contact_credentials::upsert(tx, who, &sealed).await
    }));
    drop(write!(world, scope, tx, kept => async {
        webhooks::insert(tx, who, &webhooks::Delivery { id: id(), body: "taken".into(), ..kept.delivery.clone() }).await
    }));
    // None of the other organisation's things can be linked.
    write!(world, scope, tx, kept => async {
        providers::replace_models(tx, who, kept.provider.id, std::slice::from_ref(&kept.model)).await?;
        chatbots::set_knowledge_bases(tx, who, kept.chatbot.id, &[kept.base.id]).await?;
        knowledge_bases::set_chatbots(tx, who, kept.base.id, &[kept.chatbot.id]).await?;
        tools::set_of_chatbot(tx, who, kept.chatbot.id, &[kept.tool.id]).await?;
        assert!(providers::models(tx, who).await?.is_empty());
        labels::set_of_file(tx, who, kept.file.id, &[kept.label.id]).await?;
        labels::set_of_faq(tx, who, kept.faq.id, &[kept.label.id]).await?;
        Ok(())
    })
    .unwrap();
    // The same key is a job of the stranger's own.
    let job = jobs::NewJob { id: id(), payload: "taken".into(), ..all.job.clone() };
    write!(world, scope, tx => jobs::enqueue(tx, who, &job, NOW)).unwrap();
    let job = jobs::NewJob { id: id(), payload: "taken".into(), ..all.job.clone() };
    write!(world, scope, tx => jobs::enqueue_or_advance(tx, who, &job, NOW)).unwrap();
    let change = IndexChange { id: id(), ..all.change.clone() };
    write!(world, scope, tx => index_changes::insert(tx, who, &change)).unwrap();
}
