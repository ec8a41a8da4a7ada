"""What a person looks at: the report page and the comparison page, as self-contained HTML and as Markdown.

May import the domain and `riskscribe.evaluate`; every text that reaches a page is escaped, whoever wrote it.
"""
