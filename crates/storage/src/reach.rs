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

/// The ids of the chatbots that a user's groups let them reach, as a subquery.
macro_rules! reached_chatbots {
    ($user:literal) => {
        concat!(
            "(SELECT gc.chatbot_id FROM group_chatbots AS gc JOIN group_members AS gm ON gm.group_id = gc.group_id \
             WHERE gc.org_id = $1 AND gm.org_id = $1 AND gm.user_id = ",
            $user,
            ")"
        )
    };
}
pub(crate) use reached_chatbots;

/// The ids of the inboxes of these chatbots.
macro_rules! reached_inboxes {
    ($user:literal) => {
        concat!(
            "(SELECT gi.id FROM inboxes AS gi WHERE gi.org_id = $1 AND gi.chatbot_id IN ",
            $crate::reach::reached_chatbots!($user),
            ")"
        )
    };
}
pub(crate) use reached_inboxes;

/// The condition on a column with the id of a chatbot. One that is null is within nobody's limit.
macro_rules! chatbot_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR ",
            $column,
            " IN ",
            $crate::reach::reached_chatbots!($user),
            ")"
        )
    };
}
pub(crate) use chatbot_within;

/// As [`chatbot_within!`], for statements that are put together when they run.
pub(crate) fn chatbot_within_sql(tenant: Tenant, column: &str) -> String {
    of_caller(tenant, concat!(":column IN ", reached_chatbots!(":user")), column)
}

/// The condition on a column with the id of an inbox.
macro_rules! inbox_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR ",
            $column,
            " IN ",
            $crate::reach::reached_inboxes!($user),
            ")"
        )
    };
}
pub(crate) use inbox_within;

/// As [`inbox_within!`], for statements that are put together when they run.
pub(crate) fn inbox_within_sql(tenant: Tenant, column: &str) -> String {
    of_caller(tenant, concat!(":column IN ", reached_inboxes!(":user")), column)
}

/// The condition on a column with the id of a conversation.
macro_rules! conversation_within {
    ($column:literal, $user:literal) => {
        concat!(
            " AND (CAST(",
            $user,
            " AS TEXT) IS NULL OR ",
            $column,
            " IN (SELECT gv.id FROM conversations AS gv WHERE gv.org_id = $1 AND gv.inbox_id IN ",
            $crate::reach::reached_inboxes!($user),
            "))"
        )
    };
}
pub(crate) use conversation_within;

/// Whether a user reaches the base of a column: one of their chatbots answers from it, or none at all.
macro_rules! is_reached_base {
    ($column:literal, $user:literal) => {
        concat!(
            "(NOT EXISTS (SELECT 1 FROM chatbot_knowledge_bases AS ga \
             WHERE ga.org_id = $1 AND ga.knowledge_base_id = ",
            $column,
            ") OR EXISTS (SELECT 1 FROM chatbot_knowledge_bases AS gb \
             WHERE gb.org_id = $1 AND gb.knowledge_base_id = ",
            $column,
            " AND gb.chatbot_id IN ",
            $crate::reach::reached_chatbots!($user),
            "))"
        )
    };
}
pub(crate) use is_reached_base;

/// The condition on a column with the id of a knowledge base.
macro_rules! base_within {
    ($column:literal, $user:literal) => {
        concat!(" AND (CAST(", $user, " AS TEXT) IS NULL OR ", $crate::reach::is_reached_base!($column, $user), ")")
    };
}
pub(crate) use base_within;

/// As [`base_within!`], for statements that are put together when they run.
pub(crate) fn base_within_sql(tenant: Tenant, column: &str) -> String {
    of_caller(tenant, is_reached_base!(":column", ":user"), column)
}

/// A condition with the column and the user in their places; nothing for a caller without a limit.
fn of_caller(tenant: Tenant, condition: &str, column: &str) -> String {
    let Some(user) = tenant.limited_to() else { return String::new() };
    // Text of an id is digits, letters and hyphens.
    format!(" AND {condition}").replace(":column", column).replace(":user", &format!("'{user}'"))
}
