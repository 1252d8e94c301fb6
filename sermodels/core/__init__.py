"""What a model is and its file; rows, scaling, selection and threads of models of one vector per item."""
