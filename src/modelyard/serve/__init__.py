"""The data plane: questions in, answers out. It opens no database and fetches nothing."""
