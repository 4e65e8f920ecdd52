"""Published questions that whole classes are asked, each answered as tables and figures."""
