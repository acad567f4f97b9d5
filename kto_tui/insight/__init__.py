"""Events folded into what a person sees. Pure: no files, no clock, no terminal."""
