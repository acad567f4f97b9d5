"""The usual names of columns and fields, for all formats: the first that is there counts."""

CHATS = ("messages", "conversations", "conversation", "chat", "dialogue")
PROMPTS = ("prompt", "instruction", "question", "query", "input", "user_input", "user_message")
ANSWERS = ("completion", "response", "answer", "output", "generation", "model_response", "model_output")
# The better and the worse of two answers.
PAIRS = (
    *(("chosen", "rejected"), ("chosen_response", "rejected_response")),
    *(("accepted", "rejected"), ("preferred", "rejected")),
)
BETTER = tuple(better for better, _ in PAIRS)
RATINGS = (
    *("label", "kto_tag", "rating", "feedback", "user-feedback", "user_feedback", "user_score", "thumbs"),
    *("thumb", "thumbs_up", "vote", "reaction", "score", "feedback_rating"),
)
SYSTEMS = ("system", "system_prompt", "system_message")
HISTORIES = ("history", "chat_history")
MEDIA = ("images", "image", "videos", "audios")
TEMPLATE_OPTIONS = "chat_template_kwargs"
JOINED = ("instruction", "question", "query")  # Prompts that an input beside belongs to.
# What stands beside any conversation and is read, or refused.
FUNCTIONS = "functions"  # OpenAI's older tools.
BESIDE = frozenset(("tools", FUNCTIONS, TEMPLATE_OPTIONS, *SYSTEMS, *MEDIA))

# What applications send along with a prompt, and what is no part of it.
SETTINGS = frozenset(
    {
        *("model", "model_name", "model_id", "engine", "provider", "self", "_type", "config", "metadata"),
        *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "max_new_tokens"),
        *("max_output_tokens", "n", "stop", "stop_sequences", "seed", "presence_penalty"),
        *("frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("stream", "stream_options", "response_format", "reasoning_effort", "reasoning", "modalities"),
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "service_tier"),
        *("store", "timeout", "extra_body", "extra_headers", "extra_query", "invocation_params", "user"),
        *("user_id", "session_id", "thread_id", "conversation_id", "run_id", "request_id", "tags", "id"),
    }
)

# Said by the model beside the text, under the names that chat templates have for it.
SPOKEN = ("reasoning_content", "reasoning", "thinking", "tool_plan", "function_calls")
# What templates print of a message beside what was said.
MARKS = ("name", "tool_call_id", "channel", "recipient", "functions")

MESSAGE_KEYS = frozenset(
    (*SPOKEN, *MARKS, "role", "content", "from", "value", "type", "human", "assistant", "tool_calls")
) | {"function_call", "refusal"}

# Columns that say something about a record, and are no part of what was asked.
ABOUT = frozenset(
    {
        *("id", "uuid", "idx", "index", "hash", "md5", "source", "dataset", "subset", "split", "origin"),
        *("category", "categories", "type", "kind", "tag", "tags", "language", "lang"),
        *("model", "generator", "annotator", "author", "url", "date", "timestamp", "license"),
    }
)


def is_about(name: str) -> bool:
    """Whether a column is known to be about the record, not of it."""
    return name.lower() in ABOUT or name.lower().endswith(
        ("_id", "_at", "_type", "_model", "_name", "_score")
    )
