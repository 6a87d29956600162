//! How far a caller reaches: conditions of statements that leave out what belongs to chatbots beyond
//! the caller's groups.
//!
//! Who is limited (`Tenant::limited_to`) reaches the chatbots of their groups and what belongs to
//! these: their web chats and inboxes, the conversations in there with messages and attachments, and
//! the knowledge bases of which one of them answers, or none at all does. Every function that looks up
//! or lists one of these for a caller has the condition, with `tenant.limited_to()` bound at its
//! place; without a limit the value is null and the condition holds for every row. `$1` is the
//! organisation everywhere.

use parlance_domain::Tenant;

/// The condition on a column with the id of a chatbot. One that is null is within nobody's limit.
macro_rules! chatbot_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR ",
            $column,
            " IN (SELECT gc.chatbot_id \
             FROM group_chatbots AS gc JOIN group_members AS gm ON gm.group_id = gc.group_id \
             WHERE gc.org_id = $1 AND gm.org_id = $1 AND gm.user_id = ",
            $user,
            "))"
        )
    };
}
pub(crate) use chatbot_within;

/// The condition on a column with the id of an inbox.
macro_rules! inbox_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR ",
            $column,
            " IN (SELECT gi.id FROM inboxes AS gi \
             WHERE gi.org_id = $1",
            $crate::reach::chatbot_within!("gi.chatbot_id", $user),
            "))"
        )
    };
}
pub(crate) use inbox_within;

/// As [`inbox_within!`], for statements that are put together when they run.
pub(crate) fn inbox_within_sql(tenant: Tenant, column: &str) -> String {
    let Some(user) = tenant.limited_to() else { return String::new() };
    // Text of an id is digits, letters and hyphens.
    format!(
        " AND {column} IN (SELECT gi.id FROM inboxes AS gi JOIN group_chatbots AS gc ON gc.chatbot_id = gi.chatbot_id \
         JOIN group_members AS gm ON gm.group_id = gc.group_id \
         WHERE gi.org_id = $1 AND gc.org_id = $1 AND gm.org_id = $1 AND gm.user_id = '{user}')"
    )
}

/// The condition on a column with the id of a conversation.
macro_rules! conversation_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR ",
            $column,
            " IN (SELECT gv.id FROM conversations AS gv \
             WHERE gv.org_id = $1",
            $crate::reach::inbox_within!("gv.inbox_id", $user),
            "))"
        )
    };
}
pub(crate) use conversation_within;

/// The condition on a column with the id of a knowledge base.
macro_rules! base_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR NOT EXISTS (SELECT 1 FROM chatbot_knowledge_bases AS ga \
             WHERE ga.org_id = $1 AND ga.knowledge_base_id = ",
            $column,
            ") \
             OR EXISTS (SELECT 1 FROM chatbot_knowledge_bases AS gb \
             WHERE gb.org_id = $1 AND gb.knowledge_base_id = ",
            $column,
            $crate::reach::chatbot_within!("gb.chatbot_id", $user),
            "))"
        )
    };
}
pub(crate) use base_within;
