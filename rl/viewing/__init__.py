"""Looking at the gym: contact sheets, episodes, a game for people, a report in HTML."""
