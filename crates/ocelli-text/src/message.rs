//! Conversations as chat templates see them.

use serde_json::Value as Json;

use crate::pieces::Source;

/// Who speaks. A closed set: templates put it between the marks of a control token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, under the name of newer APIs.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

impl Role {
    /// The name in templates.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::System,
            Self::Developer,
            Self::User,
            Self::Assistant,
            Self::Tool,
        ]
        .into_iter()
        .find(|role| role.name() == name)
    }

    /// Where text of this role comes from.
    pub fn source(self) -> Source {
        match self {
            Self::System | Self::Developer => Source::System,
            Self::User => Source::User,
            Self::Assistant => Source::Assistant,
            Self::Tool => Source::Tool,
        }
    }
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text.
    Text(String),
    /// A picture; the pictures of a conversation are matched to these in order.
    Image,
    /// A video; matched in order, separately from pictures.
    Video,
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Name of this call.
    pub id: Option<String>,
    /// Name of the tool.
    pub name: String,
    /// Arguments, an object as a rule.
    pub arguments: Json,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Content>,
    /// What the model thought before it answered.
    pub reasoning: Option<String>,
    /// Tools that the model calls.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's result belongs to.
    pub tool_call_id: Option<String>,
    /// Name of the tool or of the speaker.
    pub name: Option<String>,
}

impl Message {
    /// A message of these parts.
    pub fn new(role: Role, content: Vec<Content>) -> Self {
        Self {
            role,
            content,
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }

    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self::new(role, vec![Content::Text(text.into())])
    }

    /// Number of pictures or videos.
    pub(crate) fn count(&self, media: &Content) -> usize {
        self.content.iter().filter(|part| *part == media).count()
    }

    /// Calls `see` with every text that a template gets to see.
    pub(crate) fn each_text(&self, see: &mut impl FnMut(&str)) {
        for part in &self.content {
            if let Content::Text(text) = part {
                see(text);
            }
        }
        for text in [&self.reasoning, &self.tool_call_id, &self.name]
            .into_iter()
            .flatten()
        {
            see(text);
        }
        for call in &self.tool_calls {
            call.id.as_deref().into_iter().for_each(&mut *see);
            see(&call.name);
            each_text_of(&call.arguments, see);
        }
    }
}

/// Calls `see` with every string and key of `json`.
pub(crate) fn each_text_of(json: &Json, see: &mut impl FnMut(&str)) {
    match json {
        Json::String(text) => see(text),
        Json::Array(items) => items.iter().for_each(|item| each_text_of(item, see)),
        Json::Object(fields) => {
            for (key, value) in fields {
                see(key);
                each_text_of(value, see);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
