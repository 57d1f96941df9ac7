package main

import "time"

// outcome is what the simulated bank says. An empty decline means that it pays.
type outcome struct {
	decline string
	message string
	delay   time.Duration
	outage  bool
}

// Only these numbers exist: a simulator must not collect real ones.
var testCards = map[string]outcome{
	"4242424242424242": {},
	"5555555555554444": {},
	"4000000000000077": {delay: 3 * time.Second},
	"4000000000000002": {decline: "generic_decline", message: "the card was declined"},
	"4000000000009995": {decline: "insufficient_funds", message: "there is not enough money on the card"},
	"4000000000009987": {decline: "lost_card", message: "the card was reported lost"},
	"4000000000000069": {decline: "expired_card", message: "the card has expired"},
	"4000000000000127": {decline: "incorrect_cvc", message: "the security code is wrong"},
	"4000000000000119": {outage: true},
}

func brandOf(number string) string {
	switch number[0] {
	case '4':
		return "visa"
	case '5':
		return "mastercard"
	}
	return "card"
}

func expired(month, year int, now time.Time) bool {
	firstDayAfter := time.Date(year, time.Month(month)+1, 1, 0, 0, 0, 0, time.UTC)
	return !now.Before(firstDayAfter)
}
