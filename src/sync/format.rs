use logux_codecs::Codec;
use logux_transports::Format;

/// What a transport is told about a codec.
pub fn format<C: Codec>() -> Format {
    Format { name: C::NAME, media_type: C::MEDIA_TYPE, is_text: C::is_text }
}
