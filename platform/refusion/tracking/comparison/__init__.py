"""Records that runs are compared by: scores per picture, histories, costs, pictures."""
